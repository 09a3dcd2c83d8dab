"""Metrics of a run that was recovered in the middle of an epoch."""

import json
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from allennlp.training.callbacks import TrainerCallback

from tests.helpers.runs.interrupted_runs import (
    SAVE_EVERY,
    ActAfterBatch,
    short_run,
    train,
)

SECONDS_PER_BATCH = 100


@TrainerCallback.register("mean-loss-recorder")
class MeanLossRecorder(TrainerCallback):
    """Record the loss that the progress bar shows after each training batch, and move the clock `now` forward."""

    mean_losses: list[float] = []
    now = 0.0

    def on_batch(self, trainer: Any, inputs: Any, outputs: Any, metrics: Any, *rest: Any, **kwargs: Any) -> None:
        if kwargs["is_training"]:
            MeanLossRecorder.mean_losses.append(metrics["loss"])
            MeanLossRecorder.now += SECONDS_PER_BATCH


def trained(directory: Path, **options: Any) -> list[float]:
    """Train and return the loss that the progress bar shows after each training batch."""
    MeanLossRecorder.mean_losses = []
    callbacks = [{"type": "bilm"}, {"type": "mean-loss-recorder"}, {"type": "act-after-batch"}]
    train(directory, **options, **short_run(directory, callbacks=callbacks))
    return MeanLossRecorder.mean_losses


def test_the_loss_shown_after_a_recovery_is_the_mean_of_the_whole_epoch(tmp_path: Path) -> None:
    uninterrupted = trained(tmp_path / "uninterrupted")
    trained(tmp_path / "run", after_batch=SAVE_EVERY + 1)
    assert trained(tmp_path / "run", recover=True) == uninterrupted[SAVE_EVERY:]


def test_the_training_duration_is_the_sum_over_all_starts_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(monotonic=lambda: MeanLossRecorder.now)
    monkeypatch.setattr("allennlp_elmo_plus.plugin.training.callbacks.resume.time", clock, raising=False)
    trained(tmp_path, after_batch=SAVE_EVERY + 1)
    # Time between the two starts does not count.
    MeanLossRecorder.now += 10**6
    trained(tmp_path, recover=True)
    num_batches = [ActAfterBatch.epochs.count(0) + SAVE_EVERY, len(ActAfterBatch.epochs) + SAVE_EVERY]
    for name, number in (
        ("metrics_epoch_0", num_batches[0]),
        ("metrics_epoch_1", num_batches[1]),
        ("metrics", num_batches[1]),
    ):
        metrics = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        assert metrics["training_duration"] == str(timedelta(seconds=number * SECONDS_PER_BATCH)), name
