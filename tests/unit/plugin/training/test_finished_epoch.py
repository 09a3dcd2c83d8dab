"""Runs broken off after the checkpoint of an epoch, before AllenNLP's trainer has acted on it."""

import json
from pathlib import Path

import pytest

from tests.helpers.interrupted_runs import (
    assert_same_as_whole,
    break_off,
    short,
    train,
)


def test_weights_that_are_the_best_become_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = short(tmp_path / "run")
    whole = train(tmp_path / "whole", **changes)
    with monkeypatch.context() as patch:
        # By then the trainer has removed the best weights so far.
        patch.setattr("allennlp.training.gradient_descent_trainer.hardlink_or_copy", lambda *files: break_off(None))
        before = train(tmp_path / "run", **changes)
    assert not (tmp_path / "run" / "out" / "best.th").exists()
    # Once more before there is another checkpoint, so that the one just recovered from must name the best weights too.
    train(tmp_path / "run", 1, recover=True, **changes)
    after = train(tmp_path / "run", recover=True, **changes)
    assert before + after == whole
    assert_same_as_whole(tmp_path / "run", tmp_path / "whole", num_epochs=2)


def test_a_training_whose_patience_has_ended_does_not_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Perplexity falls, so that the first epoch is the best, and a third would follow.
    changes = short(tmp_path / "run", num_epochs=3, patience=1, validation_metric="+perplexity")
    whole = train(tmp_path / "whole", **changes)
    with monkeypatch.context() as patch:
        patch.setattr("allennlp.commands.train.archive_model", lambda *arguments, **options: break_off(None))
        assert train(tmp_path / "run", **changes) == whole
    assert not (tmp_path / "run" / "out" / "model.tar.gz").exists()
    assert train(tmp_path / "run", recover=True, **changes) == []
    assert_same_as_whole(tmp_path / "run", tmp_path / "whole", num_epochs=2)
    assert json.loads((tmp_path / "run" / "out" / "metrics.json").read_text())["best_epoch"] == 0
