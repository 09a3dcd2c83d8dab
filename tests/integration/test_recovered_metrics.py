"""Metrics of a run that was recovered in the middle of an epoch."""

import json
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from allennlp.training.callbacks import TrainerCallback

from tests.helpers.interrupted_runs import (
    SAVE_EVERY,
    DoesAt,
    short,
    train,
)

SECONDS_A_BATCH = 100


@TrainerCallback.register("keeps-means")
class KeepsMeans(TrainerCallback):
    """Keeps the loss in the metrics of each training batch, as the progress bar shows it, and turns the clock `now` forward."""

    means: list[float] = []
    now = 0.0

    def on_batch(self, trainer: Any, inputs: Any, outputs: Any, metrics: Any, *rest: Any, **kwargs: Any) -> None:
        if kwargs["is_training"]:
            KeepsMeans.means.append(metrics["loss"])
            KeepsMeans.now += SECONDS_A_BATCH


def trained(directory: Path, **options: Any) -> list[float]:
    """Return the loss in the metrics of each training batch."""
    KeepsMeans.means = []
    callbacks = [{"type": "bilm"}, {"type": "keeps-means"}, {"type": "does-at"}]
    train(directory, **options, **short(directory, callbacks=callbacks))
    return KeepsMeans.means


def test_the_loss_of_each_batch_is_the_mean_of_the_epoch_so_far(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole")
    trained(tmp_path / "run", at=SAVE_EVERY + 1)
    assert trained(tmp_path / "run", recover=True) == whole[SAVE_EVERY:]


def test_the_duration_is_the_time_of_training_of_all_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(monotonic=lambda: KeepsMeans.now)
    monkeypatch.setattr("allennlp_elmo_plus.plugin.training.callbacks.resume.time", clock, raising=False)
    trained(tmp_path, at=SAVE_EVERY + 1)
    # The machine is off.
    KeepsMeans.now += 10**6
    trained(tmp_path, recover=True)
    num_batches = [DoesAt.epochs.count(0) + SAVE_EVERY, len(DoesAt.epochs) + SAVE_EVERY]
    for name, number in (
        ("metrics_epoch_0", num_batches[0]),
        ("metrics_epoch_1", num_batches[1]),
        ("metrics", num_batches[1]),
    ):
        metrics = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        assert metrics["training_duration"] == str(timedelta(seconds=number * SECONDS_A_BATCH)), name
