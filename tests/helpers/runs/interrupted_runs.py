"""Training runs in this process that are interrupted and resumed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import pytest
import torch
from allennlp.commands.train import train_model
from allennlp.common import Params
from allennlp.models.archival import extracted_archive
from allennlp.training.callbacks import TrainerCallback

import allennlp_elmo_plus.plugin  # noqa: F401
from tests.helpers.small_text import SENTENCES, small_config, write_text

NUM_EPOCHS, SAVE_EVERY = 3, 3


class Interrupted(Exception):
    pass


def interrupt(trainer: Any) -> None:
    raise Interrupted


@TrainerCallback.register("act-after-batch")
class ActAfterBatch(TrainerCallback):
    """
    Call `action` with the trainer after `after_batch` batches, validation batches included, and record the losses and epochs of the
    training batches. Counting starts with each start of the run.
    """

    after_batch: Optional[int] = None
    action: Callable[[Any], None] = staticmethod(interrupt)
    losses: list[float] = []
    epochs: list[int] = []

    def __init__(self, serialization_dir: str) -> None:
        super().__init__(serialization_dir)
        self.num_batches = 0

    def on_batch(self, trainer: Any, *rest: Any, **kwargs: Any) -> None:
        self.num_batches += 1
        _, _, metrics, epoch, _ = rest
        if kwargs["is_training"]:
            ActAfterBatch.losses.append(metrics["batch_loss"])
            ActAfterBatch.epochs.append(epoch)
        if self.num_batches == self.after_batch:
            ActAfterBatch.action(trainer)


def config_of(directory: Path) -> dict[str, Any]:
    directory.mkdir(exist_ok=True)
    config = small_config(directory)
    # The first epoch then ends between two checkpoints, and the last one at a checkpoint.
    write_text(directory / "train.txt", (SENTENCES * 3)[:21])
    config["trainer"] |= {
        "num_epochs": NUM_EPOCHS,
        "patience": 2,
        "checkpointer": {"type": "bilm", "save_every_num_batches": SAVE_EVERY},
        "callbacks": [{"type": "bilm"}, {"type": "act-after-batch"}],
    }
    return config


def short_run(directory: Path, **trainer: Any) -> dict[str, Any]:
    """Return the changes to `config_of` for a short run: half the text, two epochs, and the options `trainer`."""
    config = config_of(directory)
    text = write_text(directory / "short.txt", SENTENCES * 2)
    return {"train_data_path": str(text), "trainer": {**config["trainer"], "num_epochs": 2, **trainer}}


def train(
    directory: Path,
    after_batch: Optional[int] = None,
    recover: bool = False,
    action: Callable[[Any], None] = interrupt,
    **changes: Any,
) -> list[float]:
    """
    Train into `directory`/out and return the losses of the training batches. After `after_batch` batches, `action` is called, which
    interrupts the run by default.

    Args:
        changes: Replace top-level keys of `config_of`.
    """
    ActAfterBatch.after_batch, ActAfterBatch.action = after_batch, staticmethod(action)
    ActAfterBatch.losses, ActAfterBatch.epochs = [], []
    params = Params({**config_of(directory), **changes})
    if recover:
        # AllenNLP refuses a changed config. With the new config in place, the checkpoint's own checks are tested.
        params.duplicate().to_file(str(directory / "out" / "config.json"))
    try:
        train_model(params, str(directory / "out"), recover=recover, force=False)
    except Interrupted:
        pass
    return ActAfterBatch.losses


def final_weights_and_metrics(
    directory: Path, num_epochs: int = NUM_EPOCHS
) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Return the weights after the last epoch, and the reproducible metrics of each epoch and of the run."""
    weights = torch.load(directory / "out" / f"model_state_e{num_epochs}_b0.th", weights_only=True)
    files = [*(f"metrics_epoch_{epoch}.json" for epoch in range(num_epochs)), "metrics.json"]
    return weights, [reproducible_metrics(directory / "out" / name) for name in files]


def reproducible_metrics(path: Path) -> dict[str, Any]:
    """Return the metrics in the file `path` without those of time and memory."""
    unreproducible = ("duration", "_MB", "tokens_per_second")
    metrics = json.loads(path.read_text())
    return {name: value for name, value in metrics.items() if not any(part in name for part in unreproducible)}


def archived_weights(directory: Path) -> dict[str, torch.Tensor]:
    """Return the weights in `directory`/out/model.tar.gz."""
    with extracted_archive(directory / "out" / "model.tar.gz") as extracted:
        return torch.load(Path(extracted) / "weights.th", weights_only=True)


def assert_same_as_uninterrupted(directory: Path, uninterrupted: Path, num_epochs: int = NUM_EPOCHS) -> None:
    weights, metrics = final_weights_and_metrics(directory, num_epochs)
    expected_weights, expected_metrics = final_weights_and_metrics(uninterrupted, num_epochs)
    assert weights.keys() == expected_weights.keys()
    assert all(torch.equal(weights[name], expected_weights[name]) for name in weights)
    for ours, expected in zip(metrics, expected_metrics):
        assert ours.keys() == expected.keys()
        for name, value in expected.items():
            assert ours[name] == pytest.approx(value, rel=1e-12), name
    best, expected_best = (
        torch.load(path / "out" / "best.th", weights_only=True) for path in (directory, uninterrupted)
    )
    assert all(torch.equal(best[name], value) for name, value in expected_best.items())
