"""The work of AllenNLP's trainer after the checkpoint of an epoch, for a process that was killed in between."""

import os
from pathlib import Path
from typing import Any

from allennlp.common.file_utils import hardlink_or_copy

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.storage.atomic_files import atomic_path
from allennlp_elmo_plus.storage.json_file import read_json_mapping


def finish_epoch(trainer: Any, validates_next: bool) -> None:
    """Save the weights of an epoch's checkpoint as the best ones if they are, and end the training if its patience has ended.

    The trainer does both once the checkpoint is there, and never again: recovery would train on past the end, or archive weights
    that are not the best.

    Args:
        trainer: restored from the checkpoint of a whole epoch.
        validates_next: whether the next epoch is to be validated. AllenNLP keeps no best weights after an epoch where it is not.
    """
    tracker, epochs = trainer._metric_tracker, trainer._start_after_epochs_completed
    if validates_next and tracker.is_best_so_far():
        best = os.path.join(trainer._serialization_dir, "best.th")
        if trainer._primary:
            with atomic_path(best) as temporary:
                _write_weights(trainer, temporary)
        trainer._best_model_filename = best
    if tracker.should_stop_early():
        trainer._num_epochs = epochs


def _write_weights(trainer: Any, path: Path) -> None:
    """Write the weights that the trainer was restored with to `path`, or their moving average where there is one."""
    average = trainer._moving_average
    if average is None:
        path.unlink()
        hardlink_or_copy(trainer._checkpointer._model_state_path(trainer._start_after_epochs_completed, 0), path)
        return
    average.assign_average_value()
    try:
        trainer._save_model_state(str(path))
    finally:
        average.restore()


def add_metrics_of_epoch(metrics: dict[str, Any], epoch: int, serialization_dir: str) -> None:
    """Add to `metrics` what they lack of the metrics that were written for `epoch`, if these can be read."""
    try:
        written = read_json_mapping(os.path.join(serialization_dir, f"metrics_epoch_{epoch}.json"))
    except InputError:
        return
    metrics.update({**written, **metrics})


def metrics_of_training(model: Any) -> dict[str, Any]:
    """Return the metrics of the training batches since the last reset, named as the trainer names them, and reset them."""
    model.train()
    return {f"training_{name}": value for name, value in model.get_metrics(reset=True).items()}
