"""What the checkpointer `bilm` does so that all processes, on all machines, save and take up the same."""

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
from tests.helpers.process_pool import ProcessPool


def write(directory: Path, *batches: int) -> None:
    directory.mkdir()
    for number in batches:
        for kind in ("model", "training"):
            torch.save({"batches": number}, directory / f"{kind}_state_e0_b{number}.th")


def load(homes: list[Path], on_a_machine: int) -> Optional[str]:
    """The batch of the checkpoint that this process takes up, or the error it raises."""
    rank = dist.get_rank()
    os.environ["ALLENNLP_PROCS_PER_NODE"] = str(on_a_machine)
    try:
        checkpoint = BilmCheckpointer(str(homes[rank // on_a_machine])).load_checkpoint()
        return None if checkpoint is None else str(checkpoint.trainer_state["batches"])
    except ConfigurationError as error:
        return str(error)
    finally:
        del os.environ["ALLENNLP_PROCS_PER_NODE"]


def test_all_take_up_the_newest_that_each_of_them_can_read(processes: ProcessPool, tmp_path: Path) -> None:
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
    for without in (nothing, other):
        message = "the serialization directories of the machines have no checkpoint in common"
        assert processes.run(2, load, [first, without], 1) == [message] * 2


class Recorder(BilmCheckpointer):
    def save_checkpoint(self, trainer: Any) -> None:
        self.saved = True


def save_when_due(home: Path, seconds_since: list[float]) -> bool:
    """Whether a process saves that has saved `seconds_since` its rank ago by its own clock, and every 10 s."""
    checkpointer = Recorder(str(home), save_completed_epochs=False, save_every_num_seconds=10)
    checkpointer.saved = False
    checkpointer._saved_at = time.monotonic() - seconds_since[dist.get_rank()]
    told = checkpointer.maybe_save_checkpoint(None, 0, 7)  # type: ignore[arg-type]
    assert told == checkpointer.saved
    return told


@pytest.mark.parametrize("seconds_since, saved", [([11, 0, 0], True), ([0, 11, 11], False)])
def test_the_clock_of_process_0_decides(
    processes: ProcessPool, tmp_path: Path, seconds_since: list[float], saved: bool
) -> None:
    assert processes.run(3, save_when_due, tmp_path, seconds_since) == [saved] * 3


class Trainer:
    """As far as the checkpointer knows it; AllenNLP's gives a state in the first process of each machine only."""

    _callbacks: list[Any] = []
    _epochs_completed = 0

    def __init__(self, writes: bool, batches: int) -> None:
        self.writes, self._batches_in_epoch_completed = writes, batches

    def get_checkpoint_state(self) -> Any:
        place = {"epochs_completed": 0, "batches_in_epoch_completed": self._batches_in_epoch_completed}
        return TrainerCheckpoint({}, place) if self.writes else None


def save_every_second_batch(homes: list[Path]) -> list[int]:
    """A machine of two processes and one of a single one: the batches at which this process was to save."""
    rank = dist.get_rank()
    os.environ["ALLENNLP_PROCS_PER_NODE"] = "2"
    try:
        checkpointer = BilmCheckpointer(str(homes[rank // 2]), save_every_num_batches=2, keep_most_recent_by_count=1)
        batches = range(1, 8)
        return [
            number
            for number in batches
            if checkpointer.maybe_save_checkpoint(Trainer(rank % 2 == 0, number), 0, number)  # type: ignore[arg-type]
        ]
    finally:
        del os.environ["ALLENNLP_PROCS_PER_NODE"]


def test_processes_that_do_not_write_save_at_the_same_batches(processes: ProcessPool, tmp_path: Path) -> None:
    homes = [tmp_path / "first", tmp_path / "second"]
    for home in homes:
        home.mkdir()
    assert processes.run(3, save_every_second_batch, homes) == [[2, 4, 6]] * 3
    # The first process of the second machine is not the first of all; it removes old checkpoints all the same.
    for home in homes:
        assert [path.name for path in home.glob("model_state_*")] == ["model_state_e0_b6.th"]
