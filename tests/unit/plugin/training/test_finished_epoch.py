"""Runs interrupted between the checkpoint of an epoch and the trainer's reaction to the epoch's validation."""

import json
from pathlib import Path

import pytest

from tests.helpers.runs.interrupted_runs import (
    assert_same_as_uninterrupted,
    interrupt,
    short_run,
    train,
)


def test_recovery_writes_the_best_weights_if_the_run_was_interrupted_before_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = short_run(tmp_path / "run")
    uninterrupted = train(tmp_path / "uninterrupted", **changes)
    with monkeypatch.context() as patch:
        # Before this call, the trainer has removed the previous best weights.
        patch.setattr("allennlp.training.gradient_descent_trainer.hardlink_or_copy", lambda *files: interrupt(None))
        before = train(tmp_path / "run", **changes)
    assert not (tmp_path / "run" / "out" / "best.th").exists()
    # This start is interrupted before its first checkpoint, so that the next one recovers from the same checkpoint again.
    train(tmp_path / "run", 1, recover=True, **changes)
    after = train(tmp_path / "run", recover=True, **changes)
    assert before + after == uninterrupted
    assert_same_as_uninterrupted(tmp_path / "run", tmp_path / "uninterrupted", num_epochs=2)


def test_a_training_that_was_stopped_by_its_patience_does_not_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Perplexity falls, so "+perplexity" makes the first epoch the best, and patience ends the run after the second of three epochs.
    changes = short_run(tmp_path / "run", num_epochs=3, patience=1, validation_metric="+perplexity")
    uninterrupted = train(tmp_path / "uninterrupted", **changes)
    with monkeypatch.context() as patch:
        patch.setattr("allennlp.commands.train.archive_model", lambda *arguments, **options: interrupt(None))
        assert train(tmp_path / "run", **changes) == uninterrupted
    assert not (tmp_path / "run" / "out" / "model.tar.gz").exists()
    assert train(tmp_path / "run", recover=True, **changes) == []
    assert_same_as_uninterrupted(tmp_path / "run", tmp_path / "uninterrupted", num_epochs=2)
    assert json.loads((tmp_path / "run" / "out" / "metrics.json").read_text())["best_epoch"] == 0
