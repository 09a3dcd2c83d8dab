"""An interrupted and resumed run has the losses and weights of an uninterrupted run."""

import errno
import itertools
import json
from pathlib import Path
from typing import Any, Optional

import pytest
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.training.callbacks import ConfidenceChecksCallback

from tests.helpers.runs.interrupted_runs import (
    NUM_EPOCHS,
    SAVE_EVERY,
    ActAfterBatch,
    assert_same_as_uninterrupted,
    config_of,
    final_weights_and_metrics,
    train,
)
from tests.helpers.small_text import SENTENCES, write_text

UNINTERRUPTED_EPOCHS: list[int] = []


def epoch_length(epoch: int) -> int:
    """Return the number of batches in `epoch` of the fixture `uninterrupted`; shuffled epochs differ by a few batches."""
    length = UNINTERRUPTED_EPOCHS.count(epoch)
    assert length > 0
    return length


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    directory = tmp_path_factory.mktemp("uninterrupted")
    losses = train(directory)
    UNINTERRUPTED_EPOCHS[:] = ActAfterBatch.epochs
    return directory, losses


def test_the_uninterrupted_run_has_checkpoints_inside_its_epochs(uninterrupted: tuple[Path, list[float]]) -> None:
    directory, losses = uninterrupted
    assert len(losses) == sum(map(epoch_length, range(NUM_EPOCHS)))
    assert epoch_length(0) > 2 * SAVE_EVERY + 1 and epoch_length(0) % SAVE_EVERY
    assert len(final_weights_and_metrics(directory)[0]) > 10


# Batch 1 comes before any checkpoint, batch 5 between two, batch SAVE_EVERY + 1 just after one.
@pytest.mark.parametrize("batch", [1, 5, SAVE_EVERY + 1, "end of an epoch", "validation", "second epoch", "last batch"])
def test_a_resumed_run_has_the_same_later_losses_and_the_same_weights(
    batch: Any, uninterrupted: tuple[Path, list[float]], tmp_path: Path
) -> None:
    reference, losses = uninterrupted
    length = epoch_length(0)
    # Each epoch is followed by 2 validation batches. The last epoch ends at a checkpoint; the run is interrupted right after that.
    assert epoch_length(NUM_EPOCHS - 1) % SAVE_EVERY == 0
    numbers = {
        "end of an epoch": length,
        "validation": length + 1,
        "second epoch": length + 8,
        "last batch": len(losses) + 2 * (NUM_EPOCHS - 1) + 1,
    }
    before = train(tmp_path, numbers.get(batch, batch))
    assert before == losses[: len(before)] and before
    after = train(tmp_path, recover=True)
    assert after == losses[len(losses) - len(after) :]
    assert 0 <= len(before) + len(after) - len(losses) <= SAVE_EVERY
    assert_same_as_uninterrupted(tmp_path, reference)


def test_a_run_can_be_interrupted_twice(uninterrupted: tuple[Path, list[float]], tmp_path: Path) -> None:
    reference, losses = uninterrupted
    train(tmp_path, 8)
    train(tmp_path, 5, recover=True)
    after = train(tmp_path, recover=True)
    assert after == losses[-len(after) :]
    assert_same_as_uninterrupted(tmp_path, reference)


def test_the_loader_skips_the_finished_batches_without_making_them(
    uninterrupted: tuple[Path, list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from allennlp_elmo_plus.data.batching.window_batcher import WindowBatcher

    train(tmp_path, epoch_length(0) + epoch_length(1) - 1)
    windows = []
    make_batch = WindowBatcher.__call__
    monkeypatch.setattr(
        WindowBatcher, "__call__", lambda self, window: windows.append(window) or make_batch(self, window)
    )
    after = train(tmp_path, recover=True)
    # The windows include the validations of two epochs.
    assert len(after) <= len(windows) < len(after) + epoch_length(0)


def test_a_damaged_checkpoint_is_reported_and_the_previous_one_is_used(
    uninterrupted: tuple[Path, list[float]], tmp_path: Path
) -> None:
    reference, losses = uninterrupted
    train(tmp_path, 2 * SAVE_EVERY + 2)
    newest = tmp_path / "out" / f"training_state_e0_b{2 * SAVE_EVERY}.th"
    newest.write_bytes(newest.read_bytes()[:-200])
    after = train(tmp_path, recover=True)
    assert (
        f"checkpoint model_state_e0_b{2 * SAVE_EVERY}.th cannot be read, the one before it is used"
        in (tmp_path / "out" / "out.log").read_text()
    )
    assert len(after) == len(losses) - SAVE_EVERY
    assert_same_as_uninterrupted(tmp_path, reference)
    for path in (tmp_path / "out").glob("model_state_*.th"):
        path.write_bytes(b"")
    with pytest.raises(
        ConfigurationError, match=r"no checkpoint in .* can be read, tried model_state_e3_b0.th, model_state"
    ):
        train(tmp_path, recover=True)


def test_a_checkpoint_that_meets_a_full_disk_leaves_the_earlier_checkpoints(
    uninterrupted: tuple[Path, list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, file_numbers = torch.save, itertools.count(1)

    def save_on_small_disk(part: Any, file: Any) -> None:
        save(part, file)
        if next(file_numbers) == 4:
            file.truncate(100)
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", save_on_small_disk)
        with pytest.raises(OSError, match="No space left"):
            train(tmp_path)
    assert not list((tmp_path / "out").glob(".*.tmp.th"))
    (tmp_path / "out" / ".model_state_e0_b6.0123456789ab.tmp.th").write_bytes(b"left by a process that was killed")
    train(tmp_path, recover=True)
    assert not list((tmp_path / "out").glob(".*.tmp.th"))
    assert_same_as_uninterrupted(tmp_path, uninterrupted[0])


def test_a_checkpoint_without_the_callbacks_state_is_refused(tmp_path: Path) -> None:
    trainer = config_of(tmp_path)["trainer"]
    train(tmp_path, trainer={**trainer, "callbacks": trainer["callbacks"][1:]})
    with pytest.raises(ConfigurationError, match='^the checkpoint was written without the callback "bilm", so that'):
        train(tmp_path, recover=True)


def test_recovery_with_another_text_or_other_lanes_is_refused(tmp_path: Path) -> None:
    train(tmp_path, 5)
    loader = {**config_of(tmp_path)["data_loader"], "batch_size": 3}
    with pytest.raises(
        ConfigurationError, match=r"of a run with another number of lanes \(`batch_size` times processes\), 4, got 3: "
    ):
        train(tmp_path, recover=True, data_loader=loader)
    for name, value in (("seed", 5), ("shuffle", False)):
        with pytest.raises(ConfigurationError, match=f"of a run with another `{name}`, .*, got {value}: "):
            train(tmp_path, recover=True, data_loader={**config_of(tmp_path)["data_loader"], name: value})
    other = str(write_text(tmp_path / "other.txt", (SENTENCES * 3)[20::-1]))
    with pytest.raises(ConfigurationError, match=r"run with another text \(`train_data_path`\), "):
        train(tmp_path, recover=True, train_data_path=other)


@pytest.mark.slow
def test_a_run_with_accumulated_gradients_is_resumed(tmp_path: Path) -> None:
    def trained(directory: Path, after_batch: Optional[int], recover: bool = False) -> list[float]:
        trainer = {**config_of(directory)["trainer"], "num_gradient_accumulation_steps": 2}
        return train(directory, after_batch, recover, trainer=trainer)

    losses = trained(tmp_path / "uninterrupted", None)
    trained(tmp_path / "interrupted", SAVE_EVERY + 1)
    after = trained(tmp_path / "interrupted", None, recover=True)
    assert after == losses[SAVE_EVERY:]


def test_a_run_over_sentences_is_resumed(tmp_path: Path) -> None:
    loader = {"type": "bilm_sentences", "batch_tokens": 40, "n_negative_samples_batch": 10}
    losses = train(tmp_path / "uninterrupted", data_loader=loader)
    assert len(losses) > 3 * NUM_EPOCHS
    train(tmp_path / "interrupted", SAVE_EVERY + 1, data_loader=loader)
    assert train(tmp_path / "interrupted", recover=True, data_loader=loader) == losses[SAVE_EVERY:]
    assert_same_as_uninterrupted(tmp_path / "interrupted", tmp_path / "uninterrupted")


def test_the_callback_refuses_a_loader_of_another_type(tmp_path: Path) -> None:
    loader = {"batch_size": 2}
    with pytest.raises(
        ConfigurationError, match='callback "bilm" needs the model and the data loader "bilm", got a BilmModel and'
    ):
        train(tmp_path, data_loader=loader, validation_data_loader=loader)


def test_a_shuffled_validation_goes_on_in_the_order_of_its_epoch(
    uninterrupted: tuple[Path, list[float]], tmp_path: Path
) -> None:
    loader = {**config_of(tmp_path)["validation_data_loader"], "shuffle": True}
    metrics = []
    # After the first epoch with its validation of two batches, and in the second validation.
    for name, stops in (("whole", []), ("stopped", [epoch_length(0) + 4, epoch_length(1)])):
        for stop in stops:
            train(tmp_path / name, stop, recover=stop != stops[0], validation_data_loader=loader)
        train(tmp_path / name, recover=bool(stops), validation_data_loader=loader)
        paths = sorted((tmp_path / name / "out").glob("metrics_epoch_*.json"))
        metrics.append([json.loads(path.read_text())["validation_loss"] for path in paths])
    assert metrics[0] == metrics[1] and len(set(metrics[0])) == NUM_EPOCHS


def test_a_resumed_run_does_not_keep_the_hooks_of_allennlps_first_batch(tmp_path: Path) -> None:
    numbers: list[int] = []

    def count_hooks(trainer: Any) -> None:
        (checks,) = [part for part in trainer._callbacks if isinstance(part, ConfidenceChecksCallback)]
        numbers.append(len(checks._verification._hook_handles))

    changes = {
        "trainer": {**config_of(tmp_path)["trainer"], "run_confidence_checks": True, "enable_default_callbacks": True}
    }
    train(tmp_path, SAVE_EVERY + 1, **changes)
    train(tmp_path, 2, recover=True, action=count_hooks, **changes)
    assert numbers == [0]
