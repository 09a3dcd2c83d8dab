"""The trainer callback `bilm`: exact resumption, and an orderly end of a run."""

import logging
import os
import sys
import time
from datetime import timedelta
from functools import partial
from typing import Any, Optional, Union

import torch
import torch.distributed as dist
from allennlp.common.checks import ConfigurationError
from allennlp.common.util import dump_metrics
from allennlp.nn.util import dist_reduce, move_to_device
from allennlp.training.callbacks import TrainerCallback
from overrides import overrides

from allennlp_elmo_plus.plugin.data.data_loaders.bilm_loader import BilmDataLoader
from allennlp_elmo_plus.plugin.models.bilm_model import BilmModel
from allennlp_elmo_plus.plugin.strict_from_params import StrictFromParams
from allennlp_elmo_plus.plugin.training.callbacks.distributed_guard import DistributedGuard
from allennlp_elmo_plus.plugin.training.callbacks.nonfinite_batches import NonfiniteBatches
from allennlp_elmo_plus.plugin.training.epoch_loss import EpochLoss
from allennlp_elmo_plus.plugin.training.finished_epoch import add_metrics_of_epoch, finish_epoch, metrics_of_training
from allennlp_elmo_plus.plugin.training.optimizer import BilmOptimizer
from allennlp_elmo_plus.plugin.training.process_state import (
    ProcessState,
    gather_states,
    refuse_another_text,
    select_state,
)
from allennlp_elmo_plus.plugin.training.trainer_state import (
    bilm_parts,
    num_windows_of_step,
    restore_moving_average,
    restore_trainer_state,
    trainer_state,
)
from allennlp_elmo_plus.training.distributed.world import all_gather_object, world
from allennlp_elmo_plus.training.environment import Environment, compare_environments, describe_start, environment
from allennlp_elmo_plus.training.random_states import random_states, restore_random_states
from allennlp_elmo_plus.training.stop_signals import StopSignals

logger = logging.getLogger(__name__)

_NOTICE = "a checkpoint is saved after the current batch, then the run ends; a second signal ends it at once"


@TrainerCallback.register("bilm")
class BilmResume(StrictFromParams, TrainerCallback):
    """Makes an interrupted run, resumed with `elmo-plus train --recover`, equal to an uninterrupted one: bit for bit on a CPU.

    Each of AllenNLP's checkpoints then also holds the LSTM's state, the sums of the metrics and of the loss, the states of all
    random number generators, and the state of AllenNLP's own parts that AllenNLP does not restore, see
    `plugin.training.trainer_state`. At recovery the data loader "bilm" goes to its position without reading the text before it. The
    loss in the metrics of each batch is the mean over the epoch so far, also for callbacks that come later in the config.
    `training_duration` is the time of the whole run.

    A warning at recovery names each setting that differs and that the last bits of a number depend on, see `training.environment`.

    At SIGINT, SIGTERM and SIGUSR1 the current batch is finished, a checkpoint saved, and the process exits with status 128 + the
    signal's number (130, 143, 138). A second SIGINT or SIGTERM ends it at once; without a checkpointer, the first one does.
    Recovery repeats an interrupted validation.

    A training batch whose loss is not finite, or with the optimizer "bilm" whose gradient norm is not, ends the run with a
    `FloatingPointError` that names epoch and batch, before the batch changes weights or checkpoints.

    In distributed training, which needs the checkpointer "bilm" too, a checkpoint holds all this of each process, and a signal or a
    loss that is not finite in one process counts for all. All end when one fails or is gone, see `DistributedGuard`.

    Args:
        max_skipped_batches: batches that are not finite, in the whole run, to skip: their gradient is not applied, and neither
            state nor metrics include them.
        strict_resume: whether recovery is refused, rather than warned about, where one of the settings above differs.

    Raises:
        ConfigurationError: where the training text, its arrangement in lanes or the held-out text is not that of the checkpoint, or
            not the same in all processes; with `strict_resume`, where the resumed run would not be equal bit for bit.
    """

    _model: BilmModel
    _loader: BilmDataLoader

    def __init__(self, serialization_dir: str, max_skipped_batches: int = 0, strict_resume: bool = False) -> None:
        super().__init__(serialization_dir)
        if max_skipped_batches < 0:
            raise ConfigurationError(f"`max_skipped_batches` must be at least 0, got {max_skipped_batches}")
        self._nonfinite_batches = NonfiniteBatches(max_skipped_batches)
        self._strict = strict_resume
        self._epoch_loss = EpochLoss()
        self._restored: Optional[dict[str, Any]] = None
        self._states_of_all: Optional[list[ProcessState]] = None
        self._guard = DistributedGuard()
        self._identity: dict[str, Union[str, int, bool]] = {}
        self._environment: Environment = {}
        # Seconds of training before this process, and the clock at its start.
        self._seconds_before = self._started = 0.0
        # Both as after the last training batch: a validation that was interrupted is repeated.
        self._model_state: dict[str, Any] = {}
        self._held_out_epoch = 0
        # The epoch that was interrupted: the trainer divides the losses since the resumption by all batches.
        self._epoch_to_correct: Optional[int] = None
        self._metrics_to_report: dict[str, float] = {}
        self._has_finished_an_epoch = False
        self._stop: Optional[SystemExit] = None
        self._signal = 0
        # Of several processes, the one that started them gives notice, see `plugin.training.spawn`.
        self._signals = StopSignals(self._receive_signal, _NOTICE if world().num_processes == 1 else None)

    @overrides
    def on_start(self, trainer: Any, is_primary: bool = True, **kwargs: Any) -> None:
        super().on_start(trainer, is_primary, **kwargs)
        self._model, self._loader = bilm_parts(trainer, "bilm")
        self._identity = self._loader.identity()
        held_out = trainer._validation_data_loader
        if isinstance(held_out, BilmDataLoader):
            self._identity["held-out text (`validation_data_path`)"] = held_out.text_digest
            # It is read after the first epoch; by then its encoded text may have been deleted.
            held_out.prepare()
        self._environment = environment(next(self._model.parameters()).device)
        for name, text in describe_start(self._environment).items():
            logger.info("%s: %s", name, text)
        self._guard.start(trainer, self._identity)
        if trainer._start_after_epochs_completed or trainer._start_after_batches_in_epoch_completed:
            self._resume(trainer)
        else:
            self._record()
        self._model.on_nonfinite_loss = self._skip_nonfinite_loss
        if isinstance(trainer.optimizer, BilmOptimizer):
            trainer.optimizer.on_nonfinite_norm = partial(
                self._nonfinite_batches.skip_or_raise, trainer, "gradient norm"
            )
        if trainer._checkpointer is not None:
            self._signals.install()
        self._started = time.monotonic()

    def _resume(self, trainer: Any) -> None:
        if not self._restored:
            raise ConfigurationError(
                'the checkpoint was written without the callback "bilm", so that the run cannot be resumed exactly: '
                "leave the callback out, or train from the beginning"
            )
        restored, self._restored = self._restored, None
        refuse_another_text(restored["text"], self._identity)
        epochs, batches = trainer._start_after_epochs_completed, trainer._start_after_batches_in_epoch_completed
        windows = batches * trainer._num_gradient_accumulation_steps
        own = select_state(world(), restored["processes"])
        compare_environments(own.get("environment", {}), self._environment, self._strict)
        restore_moving_average(trainer)
        self._seconds_before = restored.get("seconds", 0.0)
        self._nonfinite_batches.num_skipped = restored["num_skipped"]
        self._model_state = own["model"]
        self._epoch_loss.loss_sum = own["loss_sum"]
        self._epoch_loss.batches_without_loss = own["batches_without_loss"]
        self._model.resume(self._model_state)
        if isinstance(held_out := trainer._validation_data_loader, BilmDataLoader):
            self._held_out_epoch = held_out.epoch = own.get("held_out_epoch", 0)
        state_of_trainer = restored.get("trainer")

        def on_arrival() -> None:
            # Checkpoints of earlier versions lack it.
            if state_of_trainer is not None:
                restore_trainer_state(trainer, state_of_trainer)
            if own["generators"] is not None:
                restore_random_states(own["generators"])

        self._loader.fast_forward(epochs, windows, on_arrival)
        if not batches:
            finish_epoch(trainer, state_of_trainer is None or state_of_trainer["validates_next"])
        else:
            self._epoch_to_correct = epochs
            if windows >= self._loader.num_batches(epochs):
                # The trainer reports nothing of an epoch without batches left: its sums would count for the next one.
                self._metrics_to_report = metrics_of_training(self._model)

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
        if is_training:
            if (mean_loss := self._epoch_loss.add(batch_metrics["batch_loss"], batch_number)) is not None:
                batch_metrics["loss"] = mean_loss
            self._record()
        if world().num_processes > 1 and self._stop is None:
            if signal := dist_reduce(self._signal, dist.ReduceOp.MAX):
                self._stop_after_batch(signal)
        if not is_training and self._stop is not None:
            raise self._stop

    @overrides
    def on_epoch(
        self, trainer: Any, metrics: dict[str, Any], epoch: int, is_primary: bool = True, **kwargs: Any
    ) -> None:
        needs_correction = epoch == self._epoch_to_correct or self._epoch_loss.batches_without_loss
        if needs_correction:
            metrics.update(self._metrics_to_report)
            metrics["training_loss"] = self._epoch_loss.mean_over_processes(trainer)
        if self._seconds_before:
            metrics["training_duration"] = str(timedelta(seconds=self._seconds()))
        if is_primary and (needs_correction or self._seconds_before):
            dump_metrics(os.path.join(self.serialization_dir, f"metrics_epoch_{epoch}.json"), metrics)
        self._metrics_to_report = {}
        self._epoch_loss = EpochLoss()
        self._record()
        self._has_finished_an_epoch = True

    @overrides
    def on_end(
        self,
        trainer: Any,
        metrics: Optional[dict[str, Any]] = None,
        epoch: Optional[int] = None,
        is_primary: bool = True,
        **kwargs: Any,
    ) -> None:
        # The trainer calls this after a failure too, without naming the error.
        error = sys.exc_info()[1]
        try:
            # Any other error leaves a batch half done, which must not be saved.
            if self._stop is not None and error is self._stop:
                trainer._checkpointer.save_checkpoint(trainer)
                # The process that started the others kills them when the first has ended.
                all_gather_object(None)
                error = None
                logger.warning(
                    "stopped by a signal: `--recover` continues in epoch %d after batch %d",
                    trainer._epochs_completed + 1,
                    trainer._batches_in_epoch_completed,
                )
            if metrics is not None and epoch is not None and not self._has_finished_an_epoch:
                add_metrics_of_epoch(metrics, epoch, self.serialization_dir)
        except BaseException as failure:
            error = failure
            raise
        finally:
            self._signals.restore()
            self._model.on_nonfinite_loss = None
            self._guard.end(error)

    def _record(self) -> None:
        self._model_state = self._model.state_to_resume()
        self._held_out_epoch = getattr(self.trainer._validation_data_loader, "epoch", 0)

    def gather(self) -> None:
        """Have `state_dict` hold the state of every process, which call this together before the checkpointer "bilm" saves."""
        self._states_of_all = gather_states(self._state(), world().num_processes)

    @overrides
    def state_dict(self) -> dict[str, Any]:
        return {
            "text": self._identity,
            "num_skipped": self._nonfinite_batches.num_skipped,
            "seconds": self._seconds(),
            "trainer": trainer_state(self.trainer),
            "processes": self._states_of_all or [self._state()],
        }

    def _state(self) -> ProcessState:
        return {
            "model": move_to_device(self._model_state, torch.device("cpu")),
            "loss_sum": self._epoch_loss.loss_sum,
            "batches_without_loss": self._epoch_loss.batches_without_loss,
            "held_out_epoch": self._held_out_epoch,
            "generators": random_states(),
            "environment": self._environment,
        }

    def _seconds(self) -> float:
        """Return the seconds of training, in this process and in the earlier ones of the run."""
        return self._seconds_before + time.monotonic() - self._started

    @overrides
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict

    def _receive_signal(self, number: int) -> None:
        self._signal = number
        # Several processes must first agree on the batch.
        if world().num_processes == 1:
            self._stop_after_batch(number)

    def _stop_after_batch(self, number: int) -> None:
        self._stop = SystemExit(128 + number)
        self._loader.stop(self._stop)

    def _skip_nonfinite_loss(self, loss: float) -> None:
        trainer: Any = self.trainer
        self._nonfinite_batches.skip_or_raise(trainer, "loss", loss)
        self._epoch_loss.batches_without_loss += 1 / num_windows_of_step(trainer, self._loader)
