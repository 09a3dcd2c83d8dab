"""The trainer callback `bilm_plan`: the size, memory and remaining time of a run."""

import logging
import math
import os
import time
from pathlib import Path
from typing import Any, Optional

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.training.callbacks import TrainerCallback
from overrides import overrides

from allennlp_elmo_plus.errors import count_in_words, format_bytes, format_duration
from allennlp_elmo_plus.plugin.data.data_loaders.bilm_loader import BilmDataLoader
from allennlp_elmo_plus.plugin.models.bilm_model import BilmModel
from allennlp_elmo_plus.plugin.strict_from_params import StrictFromParams
from allennlp_elmo_plus.plugin.training.dense_gradients import reason_for_dense_gradients
from allennlp_elmo_plus.plugin.training.trainer_state import bilm_parts
from allennlp_elmo_plus.training.adagrad import Adagrad
from allennlp_elmo_plus.training.available_memory import available_memory
from allennlp_elmo_plus.training.compiled_kernels import compile_training_kernels
from allennlp_elmo_plus.training.distributed.world import world
from allennlp_elmo_plus.training.memory_estimate import TrainingMemory, estimate_training_memory
from allennlp_elmo_plus.training.throughput import NUM_WARM_UP

logger = logging.getLogger(__name__)


@TrainerCallback.register("bilm_plan")
class BilmPlan(StrictFromParams, TrainerCallback):
    """Logs the tokens, steps and memory of a run at the start, and its speed and remaining time after the first batches.

    A warning follows where the estimated memory (see `training.memory_estimate`) exceeds the available memory. On a CPU, kernels that
    are not on disk yet are then compiled, on all processors; see `training.compiled_kernels`.

    The metrics of each training batch get, for the progress bar and for callbacks that come later in the config such as
    "tensorboard": `eta_minutes`, until the last epoch ends; with the optimizer "bilm" `gradient_norm`, before the clip; and
    `memory_MB`, of the process, or of PyTorch on the GPU.

    With several processes, tokens and speed are those of all processes, memory is that of each. The callback needs the model and
    the data loader "bilm".

    Args:
        serialization_dir: passed by AllenNLP.
        num_measured_batches: the number of batches, after five that warm up, of which the speed is logged.
    """

    def __init__(self, serialization_dir: str, num_measured_batches: int = 50) -> None:
        super().__init__(serialization_dir)
        if num_measured_batches < 1:
            raise ConfigurationError(f"`num_measured_batches` must be at least 1, got {num_measured_batches}")
        self._num_measured_batches = num_measured_batches
        self._num_done = 0
        self._started = 0.0
        self._num_batches = 0
        self._tokens_per_batch = 0.0

    @overrides
    def on_start(self, trainer: Any, is_primary: bool = True, **kwargs: Any) -> None:
        super().on_start(trainer, is_primary, **kwargs)
        model, loader = bilm_parts(trainer, "bilm_plan")
        batches = math.ceil(len(loader) / trainer._num_gradient_accumulation_steps)
        self._num_batches = batches * trainer._num_epochs
        self._tokens_per_batch = loader.num_positions / batches
        if is_primary:
            self._log_plan(trainer, model, loader, batches)
        dtype = torch.bfloat16 if model.precision == "bf16" else torch.float32
        device = next(model.parameters()).device
        # Before the progress bar appears.
        compile_training_kernels(model.options, loader.batch_size, loader.num_steps, dtype, device)

    def _log_plan(self, trainer: Any, model: BilmModel, loader: BilmDataLoader, batches: int) -> None:
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
            # Two for Adam, the most of the optimizers in use.
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
            "" if available is None else f"; {format_bytes(available)} are available",
        )
        warning = memory_warning(memory, _bytes_held(trainer, model), available)
        if warning is not None:
            logger.warning(warning)

    @overrides
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
        self._num_done += 1
        if self._num_done == NUM_WARM_UP:
            self._started = time.perf_counter()
        num_measured = self._num_done - NUM_WARM_UP
        if num_measured > 0:
            # The time between batches included.
            seconds = (time.perf_counter() - self._started) / num_measured
            remaining = max(0, self._num_batches - trainer._total_batches_completed)
            batch_metrics["eta_minutes"] = seconds * remaining / 60
            if is_primary and num_measured == self._num_measured_batches:
                logger.info(
                    "speed: %s tokens/s over %s; the remaining %s take about %s",
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
    """Compare the estimate, minus the bytes held, with the available bytes.

    Returns:
        A warning where the estimate exceeds them; None where memory suffices.
    """
    missing = memory.total - num_bytes_held
    if num_bytes_available is None or missing <= num_bytes_available:
        return None
    return (
        f"training needs about {format_bytes(missing)} more memory and {format_bytes(num_bytes_available)} are available: it "
        "may run out of memory. A smaller `batch_size`, a smaller `unroll_steps` (with `num_steps`) or a smaller "
        "vocabulary (`max_size`) takes less"
    )


def _bytes_held(trainer: Any, model: BilmModel) -> int:
    """Return the bytes of the weights, and of the state of a restored optimizer."""
    states = [value for state in trainer.optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
    return sum(tensor.numel() * tensor.element_size() for tensor in [*model.parameters(), *states])


def _memory_in_use(device: torch.device) -> Optional[int]:
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None
