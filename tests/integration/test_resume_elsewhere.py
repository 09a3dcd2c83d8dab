"""Runs recovered in another environment: other threads, no numba, another directory, another version of this package."""

import gc
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.training.environment import environment
from tests.helpers.interrupted_runs import (
    SAVE_EVERY,
    assert_same_as_whole,
    short,
    train,
)

WARNING = "the run is recovered with another"


def log_of(directory: Path) -> str:
    return (directory / "out" / "out.log").read_text()


@pytest.fixture
def two_threads() -> Any:
    yield lambda: torch.set_num_threads(2)
    torch.set_num_threads(1)


def test_other_threads_are_named_in_a_warning(tmp_path: Path, two_threads: Any) -> None:
    changes = short(tmp_path)
    train(tmp_path, SAVE_EVERY + 1, **changes)
    train(tmp_path, SAVE_EVERY, recover=True, **changes)
    assert WARNING not in log_of(tmp_path)
    two_threads()
    train(tmp_path, 1, recover=True, **changes)
    assert f"{WARNING} number of threads (was 1, is 2): its losses will not be" in log_of(tmp_path)


def test_a_strict_run_is_not_recovered_without_numba(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    callbacks = [{"type": "bilm", "strict_resume": True}, {"type": "does-at"}]
    changes = short(tmp_path, callbacks=callbacks)
    losses = train(tmp_path, SAVE_EVERY + 1, **changes)
    version = environment(torch.device("cpu"))["version of numba"]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "numba", None)
        with pytest.raises(
            InputError, match=rf"^{WARNING} version of numba \(was {version}, is missing\): with `strict_"
        ):
            train(tmp_path, recover=True, **changes)
    assert losses and train(tmp_path, 1, recover=True, **changes)


def test_another_version_of_torch_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = short(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "2.6.0")
        train(tmp_path, SAVE_EVERY + 1, **changes)
    train(tmp_path, 1, recover=True, **changes)
    assert f"{WARNING} version of torch (was 2.6.0, is {torch.__version__}): " in log_of(tmp_path)


def test_a_checkpoint_of_an_earlier_version_is_recovered_exactly(tmp_path: Path) -> None:
    changes = short(tmp_path / "run")
    losses = train(tmp_path / "whole", **changes)
    train(tmp_path / "run", SAVE_EVERY + 1, **changes)
    path = tmp_path / "run" / "out" / f"training_state_e0_b{SAVE_EVERY}.th"
    state = torch.load(path, weights_only=True)
    of_callback = state["callbacks"][0]
    for name in ("trainer", "seconds"):
        del of_callback[name]
    for of_process in of_callback["processes"]:
        del of_process["environment"]
    torch.save(state, path)
    assert train(tmp_path / "run", recover=True, **changes) == losses[SAVE_EVERY:]
    assert WARNING not in log_of(tmp_path / "run")
    assert_same_as_whole(tmp_path / "run", tmp_path / "whole", num_epochs=2)


@pytest.mark.parametrize("is_copied", [False, True], ids=["moved", "copied"])
def test_a_directory_that_was_moved_or_copied_is_finished(is_copied: bool, tmp_path: Path) -> None:
    # Perplexity falls: the first epoch is the best, so that its weights are loaded in the end.
    changes = short(tmp_path / "run", validation_metric="+perplexity")
    losses = train(tmp_path / "whole", **changes)
    # In the second epoch.
    done = train(tmp_path / "run", len(losses) // 2 + SAVE_EVERY + 4, **changes)
    assert (tmp_path / "run" / "out" / "best.th").exists()
    (tmp_path / "other").mkdir()
    if is_copied:
        shutil.copytree(tmp_path / "run" / "out", tmp_path / "other" / "out")
        # The run in the old directory goes on by itself.
        (tmp_path / "run" / "out" / "best.th").write_bytes(b"")
    else:
        (tmp_path / "run" / "out").rename(tmp_path / "other" / "out")
    # The objects of the first run in this process hold the directory.
    gc.collect()
    rest = train(tmp_path / "other", recover=True, **changes)
    assert losses[len(losses) - len(rest) :] == rest and len(done) + len(rest) >= len(losses)
    assert_same_as_whole(tmp_path / "other", tmp_path / "whole", num_epochs=2)


def test_missing_best_weights_are_warned_of_at_recovery(tmp_path: Path) -> None:
    changes = short(tmp_path, num_epochs=3, validation_metric="+perplexity")
    losses = train(tmp_path, 18, **changes)
    assert losses
    (tmp_path / "out" / "best.th").unlink()
    train(tmp_path, 1, recover=True, **changes)
    assert "best.th, the best weights so far, is missing from" in log_of(tmp_path)
