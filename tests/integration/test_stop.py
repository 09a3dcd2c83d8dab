"""A run that sends itself signals at chosen moments. In `tests/faults`, other processes send the signals."""

import itertools
import os
import signal
from pathlib import Path
from typing import Any, Optional

import pytest
import torch

from allennlp_elmo_plus.plugin.training.callbacks.resume import BilmResume
from tests.helpers.runs.interrupted_runs import (
    SAVE_EVERY,
    ActAfterBatch,
    assert_same_as_uninterrupted,
    short_run,
    train,
)

# Training batches; 2 validation batches follow.
EPOCH = 11


def send_sigterm(trainer: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def train_until_sigterm(directory: Path, after_batch: Optional[int], recover: bool) -> list[float]:
    """Train until SIGTERM, which comes after `after_batch` batches, ends the run. Return the losses."""
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as exit:
        train(directory, after_batch, recover, action=send_sigterm, **short_run(directory))
    assert exit.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is handler
    return list(ActAfterBatch.losses)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    directory = tmp_path_factory.mktemp("uninterrupted")
    losses = train(directory, **short_run(directory))
    assert ActAfterBatch.epochs.count(0) == EPOCH
    return directory, losses


@pytest.mark.slow
def test_a_run_stopped_at_seven_moments_computes_no_batch_twice(
    uninterrupted: tuple[Path, list[float]], tmp_path: Path
) -> None:
    losses: list[float] = []
    # For each start of the run: its number of batches, validation included, and its last checkpoint.
    starts = [
        (1, "e0_b1"),
        (SAVE_EVERY - 1, f"e0_b{SAVE_EVERY}"),  # A checkpoint is due.
        (4, "e0_b7"),
        (EPOCH - 7, f"e0_b{EPOCH}"),  # The last batch of an epoch.
        (1, f"e0_b{EPOCH}"),  # The first batch of the validation.
        (2, "e1_b1"),  # The last batch of the validation; the run ends after the next training batch.
        (EPOCH, f"e1_b{EPOCH}"),  # A batch of the next validation.
    ]
    for num_batches, checkpoint in starts:
        losses += train_until_sigterm(tmp_path, num_batches, recover=bool(losses))
        assert (tmp_path / "out" / f"model_state_{checkpoint}.th").exists(), checkpoint
    # A signal in the last validation does not stop the run: only the archive remains to be written.
    losses += train(tmp_path, 2, recover=True, action=send_sigterm, **short_run(tmp_path))
    assert losses == uninterrupted[1]
    assert_same_as_uninterrupted(tmp_path, uninterrupted[0], num_epochs=2)


def test_a_signal_during_a_save_ends_the_run_after_the_checkpoint(
    uninterrupted: tuple[Path, list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, file_numbers = torch.save, itertools.count(1)

    def save_with_signal(part: Any, path: Any) -> None:
        if next(file_numbers) == 2:
            send_sigterm(None)
        save(part, path)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", save_with_signal)
        before = train_until_sigterm(tmp_path, None, recover=False)
    assert len(before) == SAVE_EVERY
    assert before + train(tmp_path, recover=True, **short_run(tmp_path)) == uninterrupted[1]
    assert_same_as_uninterrupted(tmp_path, uninterrupted[0], num_epochs=2)


def test_no_checkpoint_is_saved_when_an_error_follows_a_signal(tmp_path: Path) -> None:
    def send_sigterm_and_fail(trainer: Any) -> None:
        send_sigterm(trainer)
        raise RuntimeError("the batch is half done")

    with pytest.raises(RuntimeError, match="half done"):
        train(tmp_path, SAVE_EVERY + 1, action=send_sigterm_and_fail, **short_run(tmp_path))
    (saved,) = (tmp_path / "out").glob("model_state*")
    assert saved.name == f"model_state_e0_b{SAVE_EVERY}.th"


def test_a_checkpoint_that_cannot_be_saved_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save_on_full_disk(part: Any, path: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", save_on_full_disk)
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(OSError, match="No space left"):
        train(tmp_path, 1, action=send_sigterm, **short_run(tmp_path))
    assert signal.getsignal(signal.SIGTERM) is handler


def test_the_callback_without_a_trainer_handles_no_signal(tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    BilmResume(str(tmp_path))
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_training_without_checkpoints_leaves_signals_to_others(tmp_path: Path) -> None:
    handler, seen = signal.getsignal(signal.SIGTERM), []

    def look(trainer: Any) -> None:
        seen.append(signal.getsignal(signal.SIGTERM))

    train(tmp_path, 1, action=look, **short_run(tmp_path, checkpointer=None))
    assert seen == [handler]
