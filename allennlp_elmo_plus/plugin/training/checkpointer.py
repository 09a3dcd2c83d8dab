"""The checkpointer `bilm`."""

import logging
import os
import pickle
import time
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.training.checkpointer import Checkpointer
from allennlp.training.trainer import Trainer, TrainerCheckpoint
from overrides import overrides

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.plugin.strict_from_params import StrictFromParams
from allennlp_elmo_plus.plugin.training.callbacks.resume import BilmResume
from allennlp_elmo_plus.plugin.training.process_state import rank_on_machine
from allennlp_elmo_plus.storage.atomic_files import atomic_path, remove_unfinished
from allennlp_elmo_plus.storage.readable_state import unreadable_parts, with_plain_numbers
from allennlp_elmo_plus.storage.run_lock import hold
from allennlp_elmo_plus.training.distributed.world import all_gather_object, broadcast_object, world

logger = logging.getLogger(__name__)

# Checkpoints of earlier versions hold them, where the learning rate scheduler is "cosine".
_NUMPY_NUMBERS: Any = [np._core.multiarray.scalar, np.dtype, np.dtypes.Float64DType]  # type: ignore[attr-defined]


@Checkpointer.register("bilm")
class BilmCheckpointer(StrictFromParams, Checkpointer):
    """AllenNLP's checkpointer, with its options, for machines that fail: files are written atomically and read with fallbacks.

    Each file is written beside its final path, flushed to disk and renamed. The file that AllenNLP looks for, `model_state_*.th`,
    comes last. Where the newest checkpoint cannot be read, that is logged and the one before it is used. Files are loaded as plain
    tensors and numbers, so that nothing in them can run; NumPy's numbers are saved as Python's. The seconds between checkpoints
    are measured by a monotonic clock. The directory may be moved or copied between two runs.

    In distributed training the first process of each machine writes the state of all processes into the serialization directory of
    its machine. All save at the same batch. With `save_every_num_seconds`, which AllenNLP refuses there, the clock of process 0
    decides. At recovery all processes take the newest checkpoint that every one of them can read.

    Raises:
        InputError: where another process trains into the directory, see `storage.run_lock`.
    """

    def __init__(
        self,
        serialization_dir: str,
        save_completed_epochs: bool = True,
        save_every_num_seconds: Optional[float] = None,
        save_every_num_batches: Optional[int] = None,
        keep_most_recent_by_count: Optional[int] = 2,
        keep_most_recent_by_age: Optional[int] = None,
    ) -> None:
        super().__init__(
            serialization_dir,
            save_completed_epochs,
            None,
            save_every_num_batches,
            keep_most_recent_by_count,
            keep_most_recent_by_age,
        )
        # AllenNLP's own, process 0 of all, would never remove the old checkpoints of the other machines.
        self._rank = rank_on_machine(world().rank)
        self._lock = hold(serialization_dir) if self._is_primary else None
        self._seconds_between_saves = save_every_num_seconds
        self._saved_at = time.monotonic()

    @overrides
    def maybe_save_checkpoint(
        self, trainer: Trainer, num_epochs_completed: int, num_batches_in_epoch_completed: int
    ) -> bool:
        """Return whether a checkpoint was due, and then saved; all processes return the same."""
        # AllenNLP subtracts times of day: after a clock was set back, it would save nothing until the clock has caught up.
        waited = time.monotonic() - self._saved_at
        if self._seconds_between_saves is not None and broadcast_object(waited >= self._seconds_between_saves):
            self.save_checkpoint(trainer)
            return True
        return super().maybe_save_checkpoint(trainer, num_epochs_completed, num_batches_in_epoch_completed)

    @overrides
    def save_checkpoint(self, trainer: Trainer) -> None:
        """Write the state of `trainer`; all processes call this together.

        A failed write raises its error and leaves the earlier checkpoints as they are.

        Raises:
            InputError: where the directory was removed or replaced, as `elmo-plus train --force` does, or where a part of the state
                could not be read back, which the error names.
        """
        if self._lock is not None:
            self._lock.check()
        for callback in trainer._callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, BilmResume):
                callback.gather()
        state = trainer.get_checkpoint_state()
        if state is None:
            # Another process of this machine writes. AllenNLP keeps the time of the save in that process only.
            self._last_save_time = time.time()
            self._last_save_num_epochs_completed = trainer._epochs_completed  # type: ignore[attr-defined]
            self._last_save_num_batches_in_epoch_completed = trainer._batches_in_epoch_completed  # type: ignore[attr-defined]
        else:
            position = state.trainer_state["epochs_completed"], state.trainer_state["batches_in_epoch_completed"]
            for path, part in (
                (self._training_state_path(*position), state.trainer_state),
                (self._model_state_path(*position), state.model_state),
            ):
                _write(part, path)
        # AllenNLP does not write existing files again; it notes the time and removes old checkpoints.
        super().save_checkpoint(trainer)
        self._saved_at = time.monotonic()

    @overrides
    def load_checkpoint(self) -> Optional[TrainerCheckpoint]:
        """Return the newest checkpoint that can be read in all processes; None where there are no checkpoints.

        Raises:
            ConfigurationError: where there are checkpoints and none can be read: a training from the beginning would write into the
                directory of a run of perhaps days.
        """
        remove_unfinished(Path(self._serialization_dir), ".th")
        self._remove_orphans()
        unreadable: list[str] = []
        # The directories of several machines may hold different checkpoints: one machine may have ended before the others.
        own = self._find_all_checkpoints()
        positions = set.intersection(*all_gather_object(own))
        if not positions and any(all_gather_object(bool(own))):
            raise ConfigurationError("the serialization directories of the machines have no checkpoint in common")
        for position in sorted(positions, reverse=True):
            checkpoint = self._read(position)
            if all(all_gather_object(checkpoint is not None)):
                return checkpoint
            unreadable.append(os.path.basename(self._model_state_path(*position)))
        if unreadable:
            raise ConfigurationError(
                f"no checkpoint in {self._serialization_dir} can be read, tried {', '.join(unreadable)}"
            )
        return None

    @overrides
    def _find_all_checkpoints(self) -> set[tuple[int, int]]:
        # AllenNLP's search takes brackets in the name of the directory for a pattern, and then finds nothing.
        found = map(self._parse_model_state_path, os.listdir(self._serialization_dir))
        return {position for position in found if position is not None}

    @overrides
    def _remove_checkpoint(self, epochs_completed: int, batches_in_epoch_completed: int) -> None:
        # With the checkpoint of batch 12 AllenNLP also removes those of batches 120 to 129 and 1200 to 1299.
        position = epochs_completed, batches_in_epoch_completed
        for path in (self._model_state_path(*position), self._training_state_path(*position)):
            Path(path).unlink(missing_ok=True)

    def _read(self, position: tuple[int, int]) -> Optional[TrainerCheckpoint]:
        """Return the checkpoint at `position`, epochs and batches; None where it cannot be read, which is logged."""
        paths = self._model_state_path(*position), self._training_state_path(*position)
        try:
            with torch.serialization.safe_globals(_NUMPY_NUMBERS):
                checkpoint = TrainerCheckpoint(
                    *(torch.load(path, map_location="cpu", weights_only=True) for path in paths)
                )
        except Exception as error:  # a damaged file makes torch raise nearly anything
            logger.error(
                "checkpoint %s cannot be read, the one before it is used: %s", os.path.basename(paths[0]), error
            )
            return None
        best = checkpoint.trainer_state.get("best_model_filename")
        if best is not None:
            # The saved path names the directory at that time, which may have been moved or copied.
            best = os.path.join(self._serialization_dir, os.path.basename(best))
            checkpoint.trainer_state["best_model_filename"] = best
            if not os.path.exists(best):
                logger.warning(
                    "best.th, the best weights so far, is missing from %s: the run cannot be finished unless a later epoch is "
                    "better",
                    self._serialization_dir,
                )
        return checkpoint

    def _remove_orphans(self) -> None:
        """Remove training states without a model state, which a kill during a write or removal of a checkpoint leaves."""
        for path in Path(self._serialization_dir).glob("training_state_*.th"):
            position = self._parse_training_state_path(path)
            if position is not None and not os.path.exists(self._model_state_path(*position)):
                path.unlink(missing_ok=True)


def _write(part: dict[str, Any], path: Union[str, "os.PathLike[str]"]) -> None:
    """Write `part` to the file `path`.

    Raises:
        InputError: where the file could not be loaded again; it names the cause in `part`.
    """
    part = with_plain_numbers(part)
    with atomic_path(path) as temporary:
        try:
            _save(part, temporary)
            # The tensors are memory-mapped and not read, so that this takes milliseconds for any size of the file.
            torch.load(temporary, map_location="cpu", mmap=True, weights_only=True)
        except (AttributeError, TypeError, pickle.PickleError):
            causes = ", ".join(f"`{name}`, a {kind}" for name, kind in unreadable_parts(part))
            raise InputError(
                "the checkpoint is not saved, since it could not be read back: it must hold nothing but tensors, numbers, strings "
                f"and collections of these, got {causes}"
            ) from None


def _save(part: dict[str, Any], path: Path) -> None:
    with open(path, "wb") as file:
        try:
            torch.save(part, file)
        except RuntimeError as error:
            # torch closes the file that it could not write, and fails again, with an error that hides the full disk.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
