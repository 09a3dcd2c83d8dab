"""The trainer callback `bilm_plan`: what a run trains, its memory and remaining time, and the perplexities of each epoch."""

import logging
import os
import time
from pathlib import Path
from typing import Any, Optional

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.training.callbacks import TrainerCallback
from overrides import overrides

from allennlp_elmo_plus.errors import count_in_words, format_bytes, format_duration
from allennlp_elmo_plus.kernels.precision import products_dtype
from allennlp_elmo_plus.plugin.data.data_loaders.bilm_loader import BilmDataLoader
from allennlp_elmo_plus.plugin.models.bilm_model import BilmModel
from allennlp_elmo_plus.plugin.strict_from_params import StrictFromParams
from allennlp_elmo_plus.plugin.terminal import hide_trainer_log
from allennlp_elmo_plus.plugin.training.callbacks.plan_lines import (
    log_epoch,
    model_lines,
    position_line,
    result_lines,
    steps_per_epoch,
    text_lines,
)
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
    """Logs what a run trains, its steps and memory at the start, its speed after the first batches, perplexities after each epoch.

    A warning follows where the estimated memory (see `training.memory_estimate`) exceeds the available memory. The terminal then
    shows these lines in place of those of AllenNLP's trainer, which `out.log` has too. On a CPU, kernels that are not on disk yet are
    then compiled, on all processors; see `training.compiled_kernels`.

    The metrics of each training batch get, for the progress bar and for callbacks that come later in the config such as
    "tensorboard": `eta_minutes`, until the last epoch ends; `learning_rate`, of the first group of parameters; with the optimizer
    "bilm" `gradient_norm`, before the clip; and `memory_MB`, of the process, or of PyTorch on the GPU.

    With several processes, tokens and speed are those of all processes, memory is that of each. The callback needs the model and
    the data loader "bilm".

    Args:
        serialization_dir: passed by AllenNLP.
        num_measured_batches: the number of batches, after five that warm up, of which the speed is logged.
    """

    def __init__(self, serialization_dir: str, num_measured_batches: int = 20) -> None:
        super().__init__(serialization_dir)
        if num_measured_batches < 1:
            raise ConfigurationError(f"`num_measured_batches` must be at least 1, got {num_measured_batches}")
        self._num_measured_batches = num_measured_batches
        self._num_done = 0
        self._started = 0.0
        self._num_batches = 0
        self._steps_per_epoch = 0
        self._tokens_per_batch = 0.0
        self._seconds_left: Optional[float] = None

    def announce(self, trainer: Any) -> None:
        """Log text, model, steps, memory and the place of the results of the new `trainer`.

        `plugin.patches` has every new trainer call this method, so that `--dry-run` logs the same lines.
        """
        model, loader = bilm_parts(trainer, "bilm_plan")
        if not trainer._primary:
            return
        hide_trainer_log()
        steps = steps_per_epoch(trainer)
        lines = [
            *text_lines(loader, trainer._validation_data_loader),
            *model_lines(model),
            f"plan: {count_in_words(trainer._num_epochs, 'epoch')} of {count_in_words(steps, 'step')}, "
            f"{steps * trainer._num_epochs:,} in all; {count_in_words(loader.num_positions, 'token')} an epoch, "
            "ends of sentences included",
        ]
        for line in lines:
            logger.info(line)
        self._log_memory(trainer, model, loader)
        for line in result_lines(self.serialization_dir, has_checkpoints=trainer._checkpointer is not None):
            logger.info(line)

    @overrides
    def on_start(self, trainer: Any, is_primary: bool = True, **kwargs: Any) -> None:
        super().on_start(trainer, is_primary, **kwargs)
        model, loader = bilm_parts(trainer, "bilm_plan")
        self._steps_per_epoch = steps_per_epoch(trainer)
        self._num_batches = self._steps_per_epoch * trainer._num_epochs
        self._tokens_per_batch = loader.num_positions / self._steps_per_epoch
        position = position_line(trainer, self._steps_per_epoch)
        if is_primary and position is not None:
            logger.info(position)
        device = next(model.parameters()).device
        dtype = products_dtype(model.precision, device)
        # Before the progress bar appears.
        compile_training_kernels(model.options, loader.batch_size, loader.num_steps, dtype, device)

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
            "memory: about %s%s%s: %s",
            format_bytes(memory.total),
            " in each process" if world().num_processes > 1 else "",
            "" if available is None else f", {format_bytes(available)} are available",
            ", ".join(f"{name} {format_bytes(size)}" for name, size in memory._asdict().items()),
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
            self._seconds_left = seconds * max(0, self._num_batches - trainer._total_batches_completed)
            batch_metrics["eta_minutes"] = self._seconds_left / 60
            if is_primary and num_measured == self._num_measured_batches:
                logger.info(
                    "speed: %s tokens/s; an epoch takes about %s, the rest of the training %s",
                    f"{self._tokens_per_batch / seconds:,.0f}",
                    format_duration(seconds * self._steps_per_epoch),
                    format_duration(self._seconds_left),
                )
        # Adafactor may choose it by itself.
        if (learning_rate := trainer.optimizer.param_groups[0].get("lr")) is not None:
            batch_metrics["learning_rate"] = learning_rate
        norm = getattr(trainer.optimizer, "last_grad_norm", None)
        if norm is not None:
            batch_metrics["gradient_norm"] = norm
        held = _memory_in_use(next(trainer.model.parameters()).device)
        if held is not None:
            batch_metrics["memory_MB"] = held / 1e6

    @overrides
    def on_epoch(
        self, trainer: Any, metrics: dict[str, Any], epoch: int, is_primary: bool = True, **kwargs: Any
    ) -> None:
        if is_primary:
            model, _ = bilm_parts(trainer, "bilm_plan")
            vocab_size = len(model.language_model.softmax.weight)
            log_epoch(metrics, epoch, trainer._num_epochs, self._seconds_left, vocab_size)


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
