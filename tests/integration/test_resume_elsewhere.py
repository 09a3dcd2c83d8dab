"""Runs that are recovered in another environment: another number of threads, no numba, another directory, another version."""

import gc
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.training.environment import environment
from tests.helpers.runs.interrupted_runs import (
    SAVE_EVERY,
    assert_same_as_uninterrupted,
    short_run,
    train,
)

WARNING = "the run is recovered with another"


def log_of(directory: Path) -> str:
    return (directory / "out" / "out.log").read_text()


@pytest.fixture
def two_threads() -> Any:
    yield lambda: torch.set_num_threads(2)
    torch.set_num_threads(1)


def test_recovery_with_another_number_of_threads_logs_a_warning(tmp_path: Path, two_threads: Any) -> None:
    changes = short_run(tmp_path)
    train(tmp_path, SAVE_EVERY + 1, **changes)
    train(tmp_path, SAVE_EVERY, recover=True, **changes)
    assert WARNING not in log_of(tmp_path)
    two_threads()
    train(tmp_path, 1, recover=True, **changes)
    assert f"{WARNING} number of threads (was 1, is 2): its losses will not be" in log_of(tmp_path)


def test_a_strict_run_is_not_recovered_without_numba(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    callbacks = [{"type": "bilm", "strict_resume": True}, {"type": "act-after-batch"}]
    changes = short_run(tmp_path, callbacks=callbacks)
    losses = train(tmp_path, SAVE_EVERY + 1, **changes)
    version = environment(torch.device("cpu"))["version of numba"]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "numba", None)
        with pytest.raises(
            InputError, match=rf"^{WARNING} version of numba \(was {version}, is missing\): with `strict_"
        ):
            train(tmp_path, recover=True, **changes)
    assert losses and train(tmp_path, 1, recover=True, **changes)


def test_recovery_with_another_version_of_torch_logs_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = short_run(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "2.6.0")
        train(tmp_path, SAVE_EVERY + 1, **changes)
    train(tmp_path, 1, recover=True, **changes)
    assert f"{WARNING} version of torch (was 2.6.0, is {torch.__version__}): " in log_of(tmp_path)


def test_a_checkpoint_of_an_earlier_version_is_recovered_exactly(tmp_path: Path) -> None:
    changes = short_run(tmp_path / "run")
    losses = train(tmp_path / "uninterrupted", **changes)
    train(tmp_path / "run", SAVE_EVERY + 1, **changes)
    path = tmp_path / "run" / "out" / f"training_state_e0_b{SAVE_EVERY}.th"
    state = torch.load(path, weights_only=True)
    callback_state = state["callbacks"][0]
    for name in ("trainer", "seconds"):
        del callback_state[name]
    for process_state in callback_state["processes"]:
        del process_state["environment"]
    torch.save(state, path)
    assert train(tmp_path / "run", recover=True, **changes) == losses[SAVE_EVERY:]
    assert WARNING not in log_of(tmp_path / "run")
    assert_same_as_uninterrupted(tmp_path / "run", tmp_path / "uninterrupted", num_epochs=2)


@pytest.mark.parametrize("is_copied", [False, True], ids=["moved", "copied"])
def test_a_run_continues_in_a_directory_that_was_moved_or_copied(is_copied: bool, tmp_path: Path) -> None:
    # Perplexity falls, so "+perplexity" makes the first epoch the best, whose weights are loaded in the end.
    changes = short_run(tmp_path / "run", validation_metric="+perplexity")
    losses = train(tmp_path / "uninterrupted", **changes)
    # Interrupted in the second epoch.
    before = train(tmp_path / "run", len(losses) // 2 + SAVE_EVERY + 4, **changes)
    assert (tmp_path / "run" / "out" / "best.th").exists()
    (tmp_path / "other").mkdir()
    if is_copied:
        shutil.copytree(tmp_path / "run" / "out", tmp_path / "other" / "out")
        # The new directory must not read the old one.
        (tmp_path / "run" / "out" / "best.th").write_bytes(b"")
    else:
        (tmp_path / "run" / "out").rename(tmp_path / "other" / "out")
    # The objects of the first training hold the lock of the directory until they are freed.
    gc.collect()
    after = train(tmp_path / "other", recover=True, **changes)
    assert losses[len(losses) - len(after) :] == after and len(before) + len(after) >= len(losses)
    assert_same_as_uninterrupted(tmp_path / "other", tmp_path / "uninterrupted", num_epochs=2)


def test_recovery_without_the_best_weights_logs_a_warning(tmp_path: Path) -> None:
    changes = short_run(tmp_path, num_epochs=3, validation_metric="+perplexity")
    losses = train(tmp_path, 18, **changes)
    assert losses
    (tmp_path / "out" / "best.th").unlink()
    train(tmp_path, 1, recover=True, **changes)
    assert "best.th, the best weights so far, is missing from" in log_of(tmp_path)
