"""What AllenNLP's trainer does after the checkpoint of an epoch, for a process that was killed in between."""

import json
import os
from typing import Any

from allennlp.common.file_utils import hardlink_or_copy

from allennlp_elmo_plus.core.files import atomic_path


def finish_epoch(trainer: Any) -> None:
    """
    For a trainer that has been restored from the checkpoint of a whole epoch: makes that checkpoint's weights the best ones if they
    are, and ends the training if patience is at its end. The trainer does both once the checkpoint is there, and never again:
    recovery would train on past the end, or archive weights that are not the best.
    """
    tracker, epochs = trainer._metric_tracker, trainer._start_after_epochs_completed
    if tracker.is_best_so_far() and trainer._moving_average is None:
        best = os.path.join(trainer._serialization_dir, "best.th")
        if trainer._primary:
            with atomic_path(best) as temporary:
                hardlink_or_copy(trainer._checkpointer._model_state_path(epochs, 0), temporary)
        trainer._best_model_filename = best
    if tracker.should_stop_early():
        trainer._num_epochs = epochs


def add_metrics_of_epoch(metrics: dict[str, Any], epoch: int, serialization_dir: str) -> None:
    """Adds what `metrics` lacks of the metrics that were written for `epoch`, where they can be read."""
    try:
        with open(os.path.join(serialization_dir, f"metrics_epoch_{epoch}.json"), encoding="utf-8") as file:
            written = json.load(file)
    except (OSError, ValueError):
        return
    for name, value in written.items():
        metrics.setdefault(name, value)
