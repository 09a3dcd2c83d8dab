"""Files in which a process logs its training, for tests to read after the process has ended."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from allennlp.training.callbacks import TrainerCallback

from allennlp_elmo_plus.training.distributed.world import world


@TrainerCallback.register("loss-log")
class LossLog(TrainerCallback):
    """Append a line to `losses_file(serialization_dir)` after each batch: train or validate, epoch, batch, process, exact loss."""

    def __init__(self, serialization_dir: str) -> None:
        super().__init__(serialization_dir)
        self._file = os.open(losses_file(serialization_dir), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def on_batch(self, trainer: Any, *rest: Any, **kwargs: Any) -> None:
        _, _, metrics, epoch, batch_number = rest
        kind = "train" if kwargs["is_training"] else "validate"
        os.write(self._file, f"{kind} {epoch} {batch_number} {world().rank} {metrics['batch_loss'].hex()}\n".encode())


def losses_file(serialization_dir: Any) -> Path:
    """Return a path beside `serialization_dir`, not in it, so that neither `--force` nor a fault removes the file."""
    return Path(f"{serialization_dir}.losses")


def read_losses(serialization_dir: Path) -> list[tuple[str, str]]:
    """Return (batch, loss) in the order of time. A batch that was computed twice occurs twice."""
    path = losses_file(serialization_dir)
    if not path.exists():
        return []
    lines = (line.rpartition(" ") for line in path.read_text().splitlines())
    return [(batch, loss) for batch, _, loss in lines]


@TrainerCallback.register("resource-log")
class ResourceLog(TrainerCallback):
    """Append a line to `resources_file(serialization_dir)` every `every` training batches: the fields of a `Resources`."""

    def __init__(self, serialization_dir: str, every: int) -> None:
        super().__init__(serialization_dir)
        self._every = every
        self._num_batches = 0

    def on_batch(self, trainer: Any, *rest: Any, **kwargs: Any) -> None:
        self._num_batches += kwargs["is_training"]
        if kwargs["is_training"] and self._num_batches % self._every == 0:
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            numbers = (
                self._num_batches,
                resident,
                len(os.listdir("/proc/self/fd")),
                len(os.listdir("/proc/self/task")),
            )
            with open(resources_file(self.serialization_dir), "a") as file:
                print(*numbers, file=file)


class Resources(NamedTuple):
    """The resources that a process held after `num_batches` batches."""

    num_batches: int
    resident_bytes: int
    num_files: int
    num_threads: int


def resources_file(serialization_dir: Any) -> Path:
    return Path(f"{serialization_dir}.resources")


def read_resources(serialization_dir: Path) -> list[Resources]:
    lines = resources_file(serialization_dir).read_text().splitlines()
    return [Resources(*map(int, line.split())) for line in lines]
