"""The trainer callback `bilm_plan`: what a run will take, before and while it runs."""

import logging
import math
import os
from pathlib import Path
from typing import Any, Optional

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.training.callbacks import TrainerCallback

from allennlp_elmo_plus.errors import count_in_words, format_bytes, format_duration
from allennlp_elmo_plus.plugin.data.data_loaders.bilm_loader import BilmDataLoader
from allennlp_elmo_plus.plugin.models.bilm_model import BilmModel
from allennlp_elmo_plus.plugin.strict_from_params import StrictFromParams
from allennlp_elmo_plus.plugin.training.dense_gradients import reason_for_dense_gradients
from allennlp_elmo_plus.training.adagrad import Adagrad
from allennlp_elmo_plus.training.available_memory import available_memory
from allennlp_elmo_plus.training.batch_timer import BatchTimer
from allennlp_elmo_plus.training.distributed.world import world
from allennlp_elmo_plus.training.memory_estimate import TrainingMemory, estimate_training_memory

logger = logging.getLogger(__name__)


@TrainerCallback.register("bilm_plan")
class BilmPlan(StrictFromParams, TrainerCallback):
    """Logs, once at the start, how many tokens and steps the run is, and an estimate of the memory it takes by part (see
    `training.memory_estimate`), with a warning where that is more than can be had; and after the first batches, once, the
    speed and the
    time that remains.

    To the metrics of each training batch it adds, for the progress bar and for callbacks that come after it in the config, such as
    "tensorboard": `eta_minutes` until the last epoch ends, by the batches so far; `gradient_norm` before the clip, where the
    optimizer is "bilm"; and `memory_MB`, what the process holds now, or PyTorch on the GPU.

    In several processes tokens and speed are those of all of them, memory is that of each.

    Registered as a `TrainerCallback` with name "bilm_plan". It needs the model and the data loader "bilm".

    # Parameters

    num_measured_batches : `int`, optional (default = `50`)
        After how many batches, five to warm up not counted, the speed is logged.
    """

    def __init__(self, serialization_dir: str, num_measured_batches: int = 50) -> None:
        super().__init__(serialization_dir)
        if num_measured_batches < 1:
            raise ConfigurationError(f"`num_measured_batches` must be at least 1, got {num_measured_batches}")
        self._num_measured_batches = num_measured_batches
        self._pace = BatchTimer()
        self._num_batches = 0
        self._tokens_per_batch = 0.0

    def on_start(self, trainer: Any, is_primary: bool = True, **kwargs: Any) -> None:
        super().on_start(trainer, is_primary, **kwargs)
        model, loader = trainer.model, trainer.data_loader
        if not isinstance(model, BilmModel) or not isinstance(loader, BilmDataLoader):
            raise ConfigurationError(
                'the callback "bilm_plan" needs the model and the data loader "bilm", '
                f"got a {type(model).__name__} and a {type(loader).__name__}"
            )
        batches = math.ceil(len(loader) / trainer._num_gradient_accumulation_steps)
        self._num_batches = batches * trainer._num_epochs
        self._tokens_per_batch = loader.num_positions / batches
        if not is_primary:
            return
        logger.info(
            "plan: %s of %s, %s in all; %s an epoch, %s in all (an end of sentence is a token)",
            count_in_words(trainer._num_epochs, "epoch"),
            count_in_words(batches, "step"),
            f"{self._num_batches:,}",
            count_in_words(loader.num_positions, "token"),
            f"{trainer._num_epochs * loader.num_positions:,}",
        )
        self._log_memory(trainer, model, loader)

    def _log_memory(self, trainer: Any, model: BilmModel, loader: BilmDataLoader) -> None:
        device = next(model.parameters()).device
        memory = estimate_training_memory(
            model.options,
            len(model.language_model.softmax.weight),
            loader.batch_size,
            loader.num_steps,
            # Adam's, the most that optimizers in use keep.
            sums_per_weight=1 if isinstance(trainer.optimizer, Adagrad) else 2,
            on_accelerator=device.type != "cpu",
            dense_gradients=reason_for_dense_gradients(trainer) is not None,
        )
        available = available_memory(device)
        logger.info(
            "memory: about %s%s: %s%s",
            format_bytes(memory.total),
            " in each process" if world().num_processes > 1 else "",
            ", ".join(f"{name} {format_bytes(size)}" for name, size in memory._asdict().items()),
            "" if available is None else f"; {format_bytes(available)} can still be had",
        )
        warning = memory_warning(memory, _bytes_held(trainer, model), available)
        if warning is not None:
            logger.warning(warning)

    def on_batch(
        self,
        trainer: Any,
        batch_inputs: Any,
        batch_outputs: Any,
        batch_metrics: dict[str, Any],
        epoch: int,
        batch_number: int,
        is_training: bool,
        is_primary: bool = True,
        batch_grad_norm: Optional[float] = None,
        **kwargs: Any,
    ) -> None:
        if not is_training:
            return
        self._pace.batch_done()
        seconds = self._pace.seconds_per_batch()
        remaining = max(0, self._num_batches - trainer._total_batches_completed)
        if seconds is not None:
            batch_metrics["eta_minutes"] = seconds * remaining / 60
            if is_primary and self._pace.num_measured == self._num_measured_batches:
                logger.info(
                    "speed: %s tokens/s over %s; what remains, %s, takes about %s",
                    f"{self._tokens_per_batch / seconds:,.0f}",
                    count_in_words(self._num_measured_batches, "batch", "batches"),
                    count_in_words(remaining, "batch", "batches"),
                    format_duration(seconds * remaining),
                )
        norm = getattr(trainer.optimizer, "last_grad_norm", None)
        if norm is not None:
            batch_metrics["gradient_norm"] = norm
        held = _memory_in_use(next(trainer.model.parameters()).device)
        if held is not None:
            batch_metrics["memory_MB"] = held / 1e6


def memory_warning(memory: TrainingMemory, num_bytes_held: int, num_bytes_available: Optional[int]) -> Optional[str]:
    """A line that says that memory will run out, where the estimate, what is held already taken off, is more than can be had."""
    missing = memory.total - num_bytes_held
    if num_bytes_available is None or missing <= num_bytes_available:
        return None
    return (
        f"training needs about {format_bytes(missing)} more memory and {format_bytes(num_bytes_available)} can be had: it "
        "may be ended for want of memory. A smaller `batch_size`, a smaller `unroll_steps` (with `num_steps`) or a smaller "
        "vocabulary (`max_size`) takes less"
    )


def _bytes_held(trainer: Any, model: BilmModel) -> int:
    """Weights, and what a recovered optimizer has."""
    states = [value for state in trainer.optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
    return sum(tensor.numel() * tensor.element_size() for tensor in [*model.parameters(), *states])


def _memory_in_use(device: torch.device) -> Optional[int]:
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None
