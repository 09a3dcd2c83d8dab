"""Signals at every kind of moment; `tests/faults` sends them from outside."""

import os
import signal
from pathlib import Path
from typing import Any, Optional

import pytest
import torch

from allennlp_elmo_plus.plugin.training.callbacks.resume import BilmResume
from tests.helpers.interrupted_runs import (
    SAVE_EVERY,
    DoesAt,
    assert_same_as_whole,
    short,
    train,
)

# Batches, and 2 of held-out text.
EPOCH = 11


def ask_to_stop(trainer: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def stopped(directory: Path, at: Optional[int], recover: bool) -> list[float]:
    """The losses of a run that is asked to stop after `at` batches, and stops."""
    former = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        train(directory, at, recover, action=ask_to_stop, **short(directory))
    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is former
    return list(DoesAt.losses)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    directory = tmp_path_factory.mktemp("whole")
    losses = train(directory, **short(directory))
    assert DoesAt.epochs.count(0) == EPOCH
    return directory, losses


def test_a_run_stopped_at_every_kind_of_moment_does_nothing_twice(
    whole: tuple[Path, list[float]], tmp_path: Path
) -> None:
    losses: list[float] = []
    # Each is a process of the same run: (batches it does, held-out ones too, where that leaves it).
    moments = [
        (1, "e0_b1"),
        (SAVE_EVERY - 1, f"e0_b{SAVE_EVERY}"),  # Where a checkpoint is due.
        (4, "e0_b7"),
        (EPOCH - 7, f"e0_b{EPOCH}"),  # The end of an epoch,
        (1, f"e0_b{EPOCH}"),  # the first batch of its validation,
        (2, "e1_b1"),  # the last one, after which there is a batch again,
        (EPOCH, f"e1_b{EPOCH}"),  # and once more in a validation.
    ]
    for at, place in moments:
        losses += stopped(tmp_path, at, recover=bool(losses))
        assert (tmp_path / "out" / f"model_state_{place}.th").exists(), place
    # Where nothing is left to be done but the archive, the run ends as it would have.
    losses += train(tmp_path, 2, recover=True, action=ask_to_stop, **short(tmp_path))
    assert losses == whole[1]
    assert_same_as_whole(tmp_path, whole[0], num_epochs=2)


def test_in_the_middle_of_a_save(
    whole: tuple[Path, list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, written = torch.save, []

    def interrupted(part: Any, path: Any) -> None:
        written.append(path)
        if len(written) == 2:
            ask_to_stop(None)
        save(part, path)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", interrupted)
        before = stopped(tmp_path, None, recover=False)
    assert len(before) == SAVE_EVERY
    assert before + train(tmp_path, recover=True, **short(tmp_path)) == whole[1]
    assert_same_as_whole(tmp_path, whole[0], num_epochs=2)


def test_an_error_after_a_signal_saves_nothing(tmp_path: Path) -> None:
    def ask_and_fail(trainer: Any) -> None:
        ask_to_stop(trainer)
        raise RuntimeError("the batch is half done")

    with pytest.raises(RuntimeError, match="half done"):
        train(tmp_path, SAVE_EVERY + 1, action=ask_and_fail, **short(tmp_path))
    (saved,) = (tmp_path / "out").glob("model_state*")
    assert saved.name == f"model_state_e0_b{SAVE_EVERY}.th"


def test_a_checkpoint_that_cannot_be_saved_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(part: Any, path: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    former = signal.getsignal(signal.SIGTERM)
    with pytest.raises(OSError, match="No space left"):
        train(tmp_path, 1, action=ask_to_stop, **short(tmp_path))
    assert signal.getsignal(signal.SIGTERM) is former


def test_the_callback_without_a_trainer_handles_no_signal(tmp_path: Path) -> None:
    former = signal.getsignal(signal.SIGINT)
    BilmResume(str(tmp_path))
    assert signal.getsignal(signal.SIGINT) is former
