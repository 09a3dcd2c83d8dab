"""The log messages and metrics of the callback `bilm_plan`."""

import itertools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from allennlp.commands.train import train_model
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.training.callbacks import TrainerCallback

import allennlp_elmo_plus.plugin  # noqa: F401
from allennlp_elmo_plus.plugin.training.callbacks import plan
from allennlp_elmo_plus.plugin.training.callbacks.plan import BilmPlan, memory_warning
from allennlp_elmo_plus.report.events import read_scalars
from allennlp_elmo_plus.training.memory_estimate import TrainingMemory
from tests.helpers.bfloat16 import use_bfloat16
from tests.helpers.small_text import SENTENCES, small_config, write_text

NUM_WORDS = 4 * sum(map(len, SENTENCES))
NUM_TOKENS = NUM_WORDS + 4 * len(SENTENCES)


@TrainerCallback.register("metrics-recorder")
class MetricsRecorder(TrainerCallback):
    metrics: list[dict[str, Any]] = []

    def on_batch(self, *arguments: Any, **kwargs: Any) -> None:
        if kwargs["is_training"]:
            MetricsRecorder.metrics.append(dict(arguments[3]))


def train(directory: Path, **changes: Any) -> list[dict[str, Any]]:
    """Return the metrics of each training batch."""
    MetricsRecorder.metrics.clear()
    config = small_config(directory)
    write_text(directory / "train.txt", SENTENCES * 4)
    config["trainer"]["callbacks"] = [
        {"type": "bilm_plan", "num_measured_batches": 3},
        {"type": "tensorboard", "summary_interval": 1},
        "metrics-recorder",
    ]
    config["trainer"].update(changes)
    train_model(Params(config), str(directory / "out"))
    return list(MetricsRecorder.metrics)


class SmallLoader:
    batch_size, num_steps, num_positions = 4, 5, 20

    def __len__(self) -> int:
        return 1


class RecordingHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def log() -> Iterator[Callable[[int], list[str]]]:
    """Return a function that gives the callback's messages of one level. AllenNLP's training removes the handler of `caplog`."""
    handler = RecordingHandler()
    plan.logger.addHandler(handler)
    yield lambda level: [record.getMessage() for record in handler.records if record.levelno == level]
    plan.logger.removeHandler(handler)


def test_a_run_logs_its_steps_memory_and_remaining_time(tmp_path: Path, log: Any) -> None:
    metrics = train(tmp_path)
    steps = len(metrics) // 2
    messages = log(logging.INFO)
    assert len(messages) == 10 and log(logging.WARNING) == []
    text, plan_line, memory, speed = messages[0], messages[5], messages[6], messages[9]
    assert text == f"text: {tmp_path / 'train.txt'}, {4 * len(SENTENCES)} sentences, {NUM_WORDS} words"
    assert plan_line.startswith(f"plan: 2 epochs of {steps} steps, {2 * steps} in all; {NUM_TOKENS} tokens an epoch")
    assert memory.startswith("memory: about ") and "softmax" in memory and "are available" in memory
    # Five warm-up batches and three measured batches.
    assert speed.startswith("speed: ") and "an epoch takes about" in speed and "the rest of the training" in speed

    assert ["eta_minutes" in batch for batch in metrics] == [number >= 5 for number in range(2 * steps)]
    assert metrics[-1]["eta_minutes"] == 0 < metrics[5]["eta_minutes"]
    assert all(batch["gradient_norm"] > 0 and batch["memory_MB"] > 10 for batch in metrics)
    assert {batch["learning_rate"] for batch in metrics} == {0.2}
    curves = read_scalars(tmp_path / "out" / "log" / "train")
    for name in ("batch_loss", "eta_minutes", "learning_rate", "gradient_norm", "memory_MB", "tokens_per_second"):
        expected = [batch[name] for batch in metrics if name in batch]
        curve = curves[f"train/batch_{name.removeprefix('batch_')}"]
        assert [value for _, value in curve] == pytest.approx(expected)


def test_the_speed_is_that_of_the_batches_after_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.chain([50.0, 53.0, 54.0], itertools.count(56.0))
    monkeypatch.setattr(plan, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    metrics = train(tmp_path, num_epochs=1)
    num_left = len(metrics) - 6
    # After the fifth batch 3 s, then 1 s and 2 s.
    assert [batch["eta_minutes"] * 60 for batch in metrics[5:8]] == pytest.approx(
        [3 * num_left, 2 * (num_left - 1), 2 * (num_left - 2)]
    )


@pytest.mark.parametrize("precision, dtype", [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_kernels_are_compiled_before_the_first_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, dtype: torch.dtype
) -> None:
    use_bfloat16(monkeypatch)
    calls: list[Any] = []
    monkeypatch.setattr(plan, "compile_training_kernels", lambda *arguments: calls.append(arguments))
    model = SimpleNamespace(options="options", precision=precision, parameters=lambda: iter([torch.zeros(1)]))
    monkeypatch.setattr(plan, "bilm_parts", lambda trainer, name: (model, SmallLoader()))
    trainer = SimpleNamespace(
        data_loader=[None],
        _num_gradient_accumulation_steps=1,
        _num_epochs=1,
        _start_after_epochs_completed=0,
        _start_after_batches_in_epoch_completed=0,
    )
    BilmPlan(str(tmp_path)).on_start(trainer, is_primary=False)
    assert calls == [("options", 4, 5, dtype, torch.device("cpu"))]


def test_too_little_memory_logs_a_warning(tmp_path: Path, log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "available_memory", lambda device: 1000)
    assert train(tmp_path, num_epochs=1)
    (warning,) = log(logging.WARNING)
    assert warning.startswith("training needs about ") and "1.00 kB are available" in warning


@pytest.mark.parametrize(
    "held, available, warns", [(400, 100, False), (400, 99, True), (0, 499, True), (0, 500, False), (0, None, False)]
)
def test_the_memory_warning_subtracts_the_memory_that_the_process_already_has(
    held: int, available: int | None, warns: bool
) -> None:
    assert (memory_warning(TrainingMemory(100, 100, 100, 100, 100), held, available) is not None) is warns


def test_batches_with_accumulated_gradients_count_as_one_step(tmp_path: Path, log: Any) -> None:
    metrics = train(tmp_path, num_gradient_accumulation_steps=2)
    assert f"{len(metrics) // 2} steps, {len(metrics)} in all" in log(logging.INFO)[5]
    assert metrics[-1]["eta_minutes"] == 0


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="`num_measured_batches` must be at least 1, got 0"):
        BilmPlan(str(tmp_path), num_measured_batches=0)
    with pytest.raises(ConfigurationError, match="did you mean `num_measured_batches`"):
        TrainerCallback.from_params(
            Params({"type": "bilm_plan", "num_measured_batch": 3}), serialization_dir=str(tmp_path)
        )


def test_an_optimizer_may_choose_its_learning_rate_by_itself(tmp_path: Path) -> None:
    metrics = train(tmp_path, optimizer={"type": "huggingface_adafactor"}, num_epochs=1)
    assert metrics and not any("learning_rate" in batch for batch in metrics)
