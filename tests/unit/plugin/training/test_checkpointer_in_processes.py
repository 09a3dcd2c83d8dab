"""The checkpointer `bilm` in several processes, which must save at the same batches and load the same checkpoint."""

import os
import time
from pathlib import Path
from typing import Any, Optional

import pytest
import torch
import torch.distributed as dist
from allennlp.common.checks import ConfigurationError
from allennlp.training.trainer import TrainerCheckpoint

from allennlp_elmo_plus.plugin.training.checkpointer import BilmCheckpointer
from tests.helpers.runs.process_pool import ProcessPool


def write(directory: Path, *batches: int) -> None:
    directory.mkdir()
    for number in batches:
        for kind in ("model", "training"):
            torch.save({"batches": number}, directory / f"{kind}_state_e0_b{number}.th")


def load(directories: list[Path], processes_per_machine: int) -> Optional[str]:
    """Load a checkpoint in this process from the directory of its machine. Return the checkpoint's batch, or the error."""
    rank = dist.get_rank()
    os.environ["ALLENNLP_PROCS_PER_NODE"] = str(processes_per_machine)
    try:
        checkpoint = BilmCheckpointer(str(directories[rank // processes_per_machine])).load_checkpoint()
        return None if checkpoint is None else str(checkpoint.trainer_state["batches"])
    except ConfigurationError as error:
        return str(error)
    finally:
        del os.environ["ALLENNLP_PROCS_PER_NODE"]


def test_all_processes_load_the_newest_checkpoint_that_each_of_them_can_read(
    processes: ProcessPool, tmp_path: Path
) -> None:
    first, second, nothing, other = (tmp_path / name for name in ("first", "second", "nothing", "other"))
    (tmp_path / "empty").mkdir()
    write(first, 2, 4, 6)
    write(second, 2, 4)
    write(nothing)
    write(other, 8)
    assert processes.run(2, load, [first], 2) == ["6", "6"]
    assert processes.run(2, load, [first, second], 1) == ["4", "4"]
    (second / "training_state_e0_b4.th").write_bytes(b"lost")
    assert processes.run(2, load, [first, second], 1) == ["2", "2"]
    assert processes.run(2, load, [nothing, tmp_path / "empty"], 1) == [None, None]
    for directory in (nothing, other):
        message = "the serialization directories of the machines have no checkpoint in common"
        assert processes.run(2, load, [first, directory], 1) == [message] * 2


class RecordingCheckpointer(BilmCheckpointer):
    has_saved = False

    def save_checkpoint(self, trainer: Any) -> None:
        self.has_saved = True


def save_when_due(directory: Path, seconds_since_save: list[float]) -> bool:
    """
    Return whether this process saves, with a checkpoint due every 10 s and the last one `seconds_since_save`[rank] ago by its clock.
    """
    checkpointer = RecordingCheckpointer(str(directory), save_completed_epochs=False, save_every_num_seconds=10)
    checkpointer._saved_at = time.monotonic() - seconds_since_save[dist.get_rank()]
    result = checkpointer.maybe_save_checkpoint(None, 0, 7)  # type: ignore[arg-type]
    assert result == checkpointer.has_saved
    return result


@pytest.mark.parametrize("seconds_since_save, saves", [([11, 0, 0], True), ([0, 11, 11], False)])
def test_the_clock_of_process_0_decides(
    processes: ProcessPool, tmp_path: Path, seconds_since_save: list[float], saves: bool
) -> None:
    assert processes.run(3, save_when_due, tmp_path, seconds_since_save) == [saves] * 3


class Trainer:
    """The attributes of a trainer that the checkpointer uses. As in AllenNLP, only the first process of a machine has a state."""

    _callbacks: list[Any] = []
    _epochs_completed = 0

    def __init__(self, writes: bool, batches: int) -> None:
        self.writes, self._batches_in_epoch_completed = writes, batches

    def get_checkpoint_state(self) -> Any:
        state = {"epochs_completed": 0, "batches_in_epoch_completed": self._batches_in_epoch_completed}
        return TrainerCheckpoint({}, state) if self.writes else None


def save_every_second_batch(directories: list[Path]) -> list[int]:
    """Return the batches at which this process saves. The first machine has two processes, the second machine one."""
    rank = dist.get_rank()
    os.environ["ALLENNLP_PROCS_PER_NODE"] = "2"
    try:
        checkpointer = BilmCheckpointer(
            str(directories[rank // 2]), save_every_num_batches=2, keep_most_recent_by_count=1
        )
        return [
            number
            for number in range(1, 8)
            if checkpointer.maybe_save_checkpoint(Trainer(rank % 2 == 0, number), 0, number)  # type: ignore[arg-type]
        ]
    finally:
        del os.environ["ALLENNLP_PROCS_PER_NODE"]


def test_processes_that_do_not_write_save_at_the_same_batches(processes: ProcessPool, tmp_path: Path) -> None:
    directories = [tmp_path / "first", tmp_path / "second"]
    for directory in directories:
        directory.mkdir()
    assert processes.run(3, save_every_second_batch, directories) == [[2, 4, 6]] * 3
    # The first process of each machine removes old checkpoints.
    for directory in directories:
        assert [path.name for path in directory.glob("model_state_*")] == ["model_state_e0_b6.th"]
