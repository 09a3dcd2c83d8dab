"""The trainer callback `bilm`: what AllenNLP's checkpoints leave out, and what ends a run in good order."""

import logging
import math
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
from allennlp.nn.util import dist_reduce, dist_reduce_sum, move_to_device
from allennlp.training.callbacks import TrainerCallback

from allennlp_elmo_plus.errors import count_in_words
from allennlp_elmo_plus.plugin.data.data_loaders.bilm_loader import BilmDataLoader
from allennlp_elmo_plus.plugin.models.bilm_model import BilmModel
from allennlp_elmo_plus.plugin.strict_from_params import StrictFromParams
from allennlp_elmo_plus.plugin.training.callbacks.distributed_guard import DistributedGuard
from allennlp_elmo_plus.plugin.training.finished_epoch import add_metrics_of_epoch, finish_epoch
from allennlp_elmo_plus.plugin.training.optimizer import BilmOptimizer
from allennlp_elmo_plus.plugin.training.process_state import (
    ProcessState,
    gathered,
    refuse_another_text,
    state_for,
)
from allennlp_elmo_plus.plugin.training.trainer_state import (
    restore_moving_average,
    restore_trainer_state,
    trainer_state,
)
from allennlp_elmo_plus.training.distributed.world import all_gather_object, world
from allennlp_elmo_plus.training.environment import Environment, compare_environments, environment
from allennlp_elmo_plus.training.random_states import random_states, restore_random_states
from allennlp_elmo_plus.training.stop_signals import StopSignals

logger = logging.getLogger(__name__)

_NOTICE = "a checkpoint is saved after the batch at hand, then the run ends; a second signal ends it at once"


@TrainerCallback.register("bilm")
class BilmResume(StrictFromParams, TrainerCallback):
    """Makes a run that was interrupted and taken up with `allennlp train --recover` the run it would have been: bit for bit on a CPU.

    With each of AllenNLP's checkpoints it keeps the LSTM's state, the sums of the metrics and of the loss so far, the states of
    all generators of random numbers, and what AllenNLP does not restore of its own parts, see `plugin.training.trainer_state`.
    At recovery
    the data loader `bilm` goes to its place at once instead of reading up to it. The loss in the metrics of each batch is the mean
    over the epoch so far, for callbacks that come later in the config too; `training_duration` is the time of all starts.

    Number of threads, numba, instruction set and versions, which decide the last bits, are kept with each checkpoint; a warning at
    recovery names each that differs, see `training.environment`.

    At SIGINT, SIGTERM and SIGUSR1 the batch at hand is finished, a checkpoint saved, and the process ends with status 128 + the
    signal's number (130, 143, 138). A second SIGINT or SIGTERM ends it at once. A validation is broken off; recovery begins it
    anew.

    A training batch whose loss is not finite ends the run with a `FloatingPointError` that names epoch and batch, before anything
    of it reaches weights or checkpoints; so does a gradient whose norm is not, where the optimizer is `bilm`.

    In distributed training, which takes the checkpointer "bilm" too, it keeps all this of each process; a signal to one of them
    ends all at the same batch, and a batch is skipped, or ends the run, where the loss of one process is not finite. It also gives
    each process random numbers of its own and ends all when one fails or is gone, see `DistributedGuard`.

    Registered as a `TrainerCallback` with name "bilm". Raises `ConfigurationError` at recovery where the training text, how it is
    laid out in lanes, or the held-out text is no longer that of the checkpoint, and in distributed training where it is not the
    same everywhere; with `strict_resume` also where the recovered run would not be the same bit for bit.

    # Parameters

    max_skipped_batches : `int`, optional (default = `0`)
        Batches that are not finite, in the whole run, to leave out instead: their gradient is not applied and neither state nor
        metrics see them.
    strict_resume : `bool`, optional (default = `False`)
        Whether recovery is refused, rather than warned about, where threads, numba, instruction set or versions differ.
    """

    def __init__(self, serialization_dir: str, max_skipped_batches: int = 0, strict_resume: bool = False) -> None:
        super().__init__(serialization_dir)
        if max_skipped_batches < 0:
            raise ConfigurationError(f"`max_skipped_batches` must be at least 0, got {max_skipped_batches}")
        self._max_skipped = max_skipped_batches
        self._strict = strict_resume
        self._num_skipped = 0
        self._loss_sum = 0.0
        # Of this epoch, in the trainer's batches: of several whose gradients are added up, one is a part.
        self._batches_without_loss = 0.0
        self._restored: Optional[dict[str, Any]] = None
        self._states_of_all: Optional[list[ProcessState]] = None
        self._watch = DistributedGuard()
        self._identity: dict[str, Union[str, int, bool]] = {}
        self._environment: Environment = {}
        # Seconds of training before this process, and the clock when it began.
        self._seconds_before = self._started = 0.0
        self._model_state: dict[str, Any] = {}
        # Of the epoch that was broken off; the trainer divides what came after by all batches.
        self._epoch_to_correct: Optional[int] = None
        self._metrics_to_report: dict[str, float] = {}
        self._has_finished_an_epoch = False
        self._stop: Optional[SystemExit] = None
        self._signal = 0
        self._signals = StopSignals(self._take_signal, _NOTICE)

    def on_start(self, trainer: Any, is_primary: bool = True, **kwargs: Any) -> None:
        super().on_start(trainer, is_primary, **kwargs)
        model, loader = self._parts()
        self._identity = loader.identity()
        held_out = trainer._validation_data_loader
        if isinstance(held_out, BilmDataLoader):
            self._identity["held-out text (`validation_data_path`)"] = held_out.text_digest()
            # It is not read before the first epoch ends; what is encoded may be gone by then.
            held_out.prepare()
        self._environment = environment(next(model.parameters()).device)
        self._watch.start(trainer, self._identity)
        if trainer._start_after_epochs_completed or trainer._start_after_batches_in_epoch_completed:
            self._resume(trainer, model, loader)
        else:
            self._model_state = model.state_to_resume()
        model.on_nonfinite_loss = self._skip_loss
        if isinstance(trainer.optimizer, BilmOptimizer):
            trainer.optimizer.on_nonfinite_norm = partial(self._skip_or_end, "gradient norm")
        self._signals.install()
        self._started = time.monotonic()

    def _resume(self, trainer: Any, model: BilmModel, loader: BilmDataLoader) -> None:
        if not self._restored:
            raise ConfigurationError(
                'the checkpoint was written without the callback "bilm", so that the run cannot be taken up exactly: '
                "leave the callback out, or train anew"
            )
        restored, self._restored = self._restored, None
        refuse_another_text(restored["text"], self._identity)
        epochs, batches = trainer._start_after_epochs_completed, trainer._start_after_batches_in_epoch_completed
        windows = batches * trainer._num_gradient_accumulation_steps
        own = state_for(world(), restored["processes"])
        compare_environments(own.get("environment", {}), self._environment, self._strict)
        restore_moving_average(trainer)
        self._seconds_before = restored.get("seconds", 0.0)
        self._num_skipped = restored["num_skipped"]
        self._model_state = own["model"]
        self._loss_sum = own["loss_sum"]
        self._batches_without_loss = own["batches_without_loss"]
        model.resume(self._model_state)
        of_trainer = restored.get("trainer")

        def on_arrival() -> None:
            # Checkpoints of earlier versions have none.
            if of_trainer is not None:
                restore_trainer_state(trainer, of_trainer)
            if own["generators"] is not None:
                restore_random_states(own["generators"])

        loader.fast_forward(epochs, windows, on_arrival)
        if not batches:
            finish_epoch(trainer, of_trainer is None or of_trainer["validates_next"])
        else:
            self._epoch_to_correct = epochs
            if windows >= loader.num_batches(epochs):
                # Of an epoch that has no batch left the trainer reports nothing, and the sums would go into what comes next.
                model.train()
                metrics = model.get_metrics(reset=True)
                self._metrics_to_report = {f"training_{name}": value for name, value in metrics.items()}

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
            self._loss_sum += batch_metrics["batch_loss"]
            num_losses = batch_number - self._batches_without_loss
            if num_losses > 0:
                # The trainer divides the losses since its last start by all batches of the epoch.
                batch_metrics["loss"] = self._loss_sum / num_losses
            # Kept for a checkpoint in the middle of the validation that may follow, which has sums of its own.
            self._model_state = self._parts()[0].state_to_resume()
        if world().num_processes > 1 and self._stop is None:
            signal = dist_reduce(self._signal, dist.ReduceOp.MAX)
            if signal:
                self._stop_after_batch(signal)
        if not is_training and self._stop is not None:
            raise self._stop

    def on_epoch(
        self, trainer: Any, metrics: dict[str, Any], epoch: int, is_primary: bool = True, **kwargs: Any
    ) -> None:
        is_to_correct = epoch == self._epoch_to_correct or self._batches_without_loss
        if is_to_correct:
            metrics.update(self._metrics_to_report)
            # As the trainer computes it, from what all processes have.
            num_losses = dist_reduce_sum(trainer._batches_in_epoch_completed - self._batches_without_loss)
            metrics["training_loss"] = dist_reduce_sum(self._loss_sum) / num_losses if num_losses else math.nan
        if self._seconds_before:
            metrics["training_duration"] = str(timedelta(seconds=self._seconds()))
        if is_primary and (is_to_correct or self._seconds_before):
            dump_metrics(os.path.join(self.serialization_dir, f"metrics_epoch_{epoch}.json"), metrics)
        self._metrics_to_report = {}
        self._loss_sum = self._batches_without_loss = 0.0
        self._model_state = self._parts()[0].state_to_resume()
        self._has_finished_an_epoch = True

    def on_end(
        self,
        trainer: Any,
        metrics: Optional[dict[str, Any]] = None,
        epoch: Optional[int] = None,
        is_primary: bool = True,
        **kwargs: Any,
    ) -> None:
        # The trainer calls this on its way out of a failure too, and tells nobody which.
        error = sys.exc_info()[1]
        try:
            # An error that came before the stop leaves a batch half done: nothing to save.
            if self._stop is not None and error is self._stop:
                trainer._checkpointer.save_checkpoint(trainer)
                # Whoever started the processes kills the others when the first has ended.
                all_gather_object(None)
                error = None
                place = trainer._epochs_completed, trainer._batches_in_epoch_completed
                logger.warning("stopped by a signal: `--recover` goes on in epoch %d after batch %d", *place)
            if metrics is not None and epoch is not None and not self._has_finished_an_epoch:
                add_metrics_of_epoch(metrics, epoch, self.serialization_dir)
        except BaseException as failure:
            error = failure
            raise
        finally:
            self._signals.restore()
            self._parts()[0].on_nonfinite_loss = None
            self._watch.end(error)

    def gather(self) -> None:
        """Has `state_dict` hold what every process of a distributed training needs. They call this together; the checkpointer "bilm"
        does, before it saves.
        """
        self._states_of_all = gathered(self._state(), world().num_processes)

    def state_dict(self) -> dict[str, Any]:
        return {
            "text": self._identity,
            "num_skipped": self._num_skipped,
            "seconds": self._seconds(),
            "trainer": trainer_state(self.trainer),
            "processes": self._states_of_all or [self._state()],
        }

    def _state(self) -> ProcessState:
        return {
            "model": move_to_device(self._model_state, torch.device("cpu")),
            "loss_sum": self._loss_sum,
            "batches_without_loss": self._batches_without_loss,
            "generators": random_states(),
            "environment": self._environment,
        }

    def _seconds(self) -> float:
        """Return how long the run has been trained, in this process and in those before it."""
        return self._seconds_before + time.monotonic() - self._started

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict

    def _take_signal(self, number: int) -> None:
        self._signal = number
        # Where there are several processes, they must first agree on the batch.
        if world().num_processes == 1:
            self._stop_after_batch(number)

    def _stop_after_batch(self, number: int) -> None:
        self._stop = SystemExit(128 + number)
        self._parts()[1].stop(self._stop)

    def _skip_loss(self, loss: float) -> None:
        self._skip_or_end("loss", loss)
        assert self.trainer is not None
        self._batches_without_loss += 1 / self.trainer._num_gradient_accumulation_steps

    def _skip_or_end(self, what: str, value: float) -> None:
        trainer = self.trainer
        assert trainer is not None
        place = f"the {what} is {value} in batch {trainer._batches_in_epoch_completed + 1} of epoch {trainer._epochs_completed}"
        if self._num_skipped == self._max_skipped:
            skipped = (
                f" after {count_in_words(self._num_skipped, 'skipped batch', 'skipped batches')}"
                if self._num_skipped
                else ""
            )
            raise FloatingPointError(f"{place}{skipped}: the run ends, and its last checkpoint stands")
        self._num_skipped += 1
        logger.warning("%s: it is skipped, as %d of %d may be", place, self._num_skipped, self._max_skipped)

    def _parts(self) -> tuple[BilmModel, BilmDataLoader]:
        assert self.trainer is not None
        model, loader = self.trainer.model, self.trainer.data_loader
        if not isinstance(model, BilmModel) or not isinstance(loader, BilmDataLoader):
            raise ConfigurationError(
                'the callback "bilm" needs the model and the data loader "bilm", '
                f"got a {type(model).__name__} and a {type(loader).__name__}"
            )
        return model, loader
