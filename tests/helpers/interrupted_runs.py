"""Training runs in this process that are broken off and taken up again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import pytest
import torch
from allennlp.commands.train import train_model
from allennlp.common import Params
from allennlp.training.callbacks import TrainerCallback

import allennlp_elmo_plus.plugin  # noqa: F401
from tests.helpers.small_text import SENTENCES, small_config, write_text

NUM_EPOCHS, SAVE_EVERY = 3, 3


class BrokenOff(Exception):
    pass


def break_off(trainer: Any) -> None:
    raise BrokenOff


@TrainerCallback.register("does-at")
class DoesAt(TrainerCallback):
    """
    Calls `action` with the trainer after `at` batches of this process, those of held-out text counted too, and keeps the losses of
    training.
    """

    at: Optional[int] = None
    action: Callable[[Any], None] = staticmethod(break_off)
    losses: list[float] = []
    epochs: list[int] = []

    def __init__(self, serialization_dir: str) -> None:
        super().__init__(serialization_dir)
        self.seen = 0

    def on_batch(self, trainer: Any, *rest: Any, **kwargs: Any) -> None:
        self.seen += 1
        _, _, metrics, epoch, _ = rest
        if kwargs["is_training"]:
            DoesAt.losses.append(metrics["batch_loss"])
            DoesAt.epochs.append(epoch)
        if self.seen == self.at:
            DoesAt.action(trainer)


def config_of(directory: Path) -> dict[str, Any]:
    directory.mkdir(exist_ok=True)
    config = small_config(directory)
    write_text(directory / "train.txt", SENTENCES * 4)
    config["trainer"] |= {
        "num_epochs": NUM_EPOCHS,
        "patience": 2,
        "checkpointer": {"type": "bilm", "save_every_num_batches": SAVE_EVERY},
        "callbacks": [{"type": "bilm"}, {"type": "does-at"}],
    }
    return config


def short(directory: Path, **trainer: Any) -> dict[str, Any]:
    """What makes a run short: half the text, two epochs, in which `trainer` holds."""
    config = config_of(directory)
    text = write_text(directory / "short.txt", SENTENCES * 2)
    return {"train_data_path": str(text), "trainer": {**config["trainer"], "num_epochs": 2, **trainer}}


def train(
    directory: Path,
    at: Optional[int] = None,
    recover: bool = False,
    action: Callable[[Any], None] = break_off,
    **changes: Any,
) -> list[float]:
    """The losses of each batch; weights and metrics are in directory/out."""
    DoesAt.at, DoesAt.action = at, staticmethod(action)
    DoesAt.losses, DoesAt.epochs = [], []
    params = Params({**config_of(directory), **changes})
    if recover:
        # The command line compares configs; here the checkpoint itself is to notice.
        params.duplicate().to_file(str(directory / "out" / "config.json"))
    try:
        train_model(params, str(directory / "out"), recover=recover, force=False)
    except BrokenOff:
        pass
    return DoesAt.losses


def final(directory: Path, num_epochs: int = NUM_EPOCHS) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Weights of the last epoch, and each epoch's metrics without those of time and memory."""
    (weights,) = (directory / "out").glob(f"model_state_e{num_epochs}_b0.th")
    files = [*(f"metrics_epoch_{epoch}.json" for epoch in range(num_epochs)), "metrics.json"]
    metrics = [json.loads((directory / "out" / name).read_text()) for name in files]
    timed = ("duration", "_MB", "tokens_per_second")
    kept = [{key: value for key, value in each.items() if not any(word in key for word in timed)} for each in metrics]
    return torch.load(weights, weights_only=True), kept


def assert_same_as_whole(directory: Path, whole: Path, num_epochs: int = NUM_EPOCHS) -> None:
    (weights, metrics), (expected_weights, expected_metrics) = final(directory, num_epochs), final(whole, num_epochs)
    assert weights.keys() == expected_weights.keys()
    assert all(torch.equal(weights[name], expected_weights[name]) for name in weights)
    for ours, expected in zip(metrics, expected_metrics):
        assert ours.keys() == expected.keys()
        for name, value in expected.items():
            assert ours[name] == pytest.approx(value, rel=1e-12), name
    best = [torch.load(each / "out" / "best.th", weights_only=True) for each in (directory, whole)]
    assert all(torch.equal(best[0][name], best[1][name]) for name in best[1])
