"""The trainer callback `bilm`: what AllenNLP's checkpoints leave out."""

import os
import random
import sys
from typing import Any, Optional

import numpy as np
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.common.util import dump_metrics
from allennlp.nn.util import dist_reduce_sum
from allennlp.training.callbacks import TrainerCallback
from allennlp.training.checkpointer import Checkpointer

from allennlp_elmo_plus.core.heartbeat import Heartbeat, store_of_processes
from allennlp_elmo_plus.core.processes import of_all, seed_of, share
from allennlp_elmo_plus.plugin.data_loader import BilmDataLoader
from allennlp_elmo_plus.plugin.known_options import KnownOptions
from allennlp_elmo_plus.plugin.model import BilmModel
from allennlp_elmo_plus.plugin.process_state import ProcessState, gathered, state_for


@TrainerCallback.register("bilm")
class BilmResume(KnownOptions, TrainerCallback):
    """
    Makes a run that was interrupted and taken up with `allennlp train --recover` the run it would have been: bit for bit on a CPU.

    With each of AllenNLP's checkpoints it keeps the LSTM's state, the sums of the metrics and of the loss so far, and the states of
    all generators of random numbers. At recovery the data loader `bilm` goes to its place at once instead of reading up to it.

    In distributed training, which takes the checkpointer "bilm" too, it keeps these of each process. It also gives each process
    random numbers of its own, for dropout, where AllenNLP gives all the same, and ends all processes within a minute when one of
    them fails or is gone, see `core.heartbeat`.

    Registered as a `TrainerCallback` with name "bilm". Raises `ConfigurationError` at recovery where the training text, or how it
    is laid out in lanes, is no longer that of the checkpoint, and in distributed training where it is not the same everywhere.
    """

    def __init__(self, serialization_dir: str) -> None:
        super().__init__(serialization_dir)
        self._loss_sum = 0.0
        self._restored: Optional[dict[str, Any]] = None
        self._states_of_all: Optional[list[ProcessState]] = None
        self._heartbeat: Optional[Heartbeat] = None
        # Of the epoch that was broken off; the trainer divides what came after by all batches.
        self._epoch_to_correct: Optional[int] = None

    def on_start(self, trainer: Any, is_primary: bool = True, **kwargs: Any) -> None:
        super().on_start(trainer, is_primary, **kwargs)
        model, loader = self._parts()
        process = share()
        if process.num_processes > 1:
            self._check_processes(trainer, loader)
            store = store_of_processes()
            if store is not None:
                self._heartbeat = Heartbeat(store, *process)
                self._heartbeat.start()
            torch.manual_seed(seed_of(torch.initial_seed(), process.rank))
        epochs, batches = trainer._start_after_epochs_completed, trainer._start_after_batches_in_epoch_completed
        if not epochs and not batches:
            return
        if not self._restored:
            raise ConfigurationError(
                'the checkpoint was written without the callback "bilm", so that the run cannot be taken up exactly: '
                "leave the callback out, or train anew"
            )
        restored, self._restored = self._restored, None
        text = loader.identity()
        for name, value in restored["text"].items():
            if text[name] != value:
                raise ConfigurationError(
                    f"the checkpoint is of a run with another {name}, {value}, got {text[name]}: "
                    "what was trained on cannot be taken up with another text or layout"
                )
        own = state_for(process, restored["processes"])
        model.resume(own["model"])
        loader.fast_forward(epochs, batches * trainer._num_gradient_accumulation_steps)
        self._loss_sum = own["loss_sum"]
        if batches:
            self._epoch_to_correct = epochs
        if own["generators"] is not None:
            _restore_generators(own["generators"])

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

    def on_epoch(
        self, trainer: Any, metrics: dict[str, Any], epoch: int, is_primary: bool = True, **kwargs: Any
    ) -> None:
        if epoch == self._epoch_to_correct:
            # Of an epoch that had no batch left the trainer reports nothing, and the sums would go into the next one.
            if "training_loss" not in metrics:
                model, _ = self._parts()
                model.train()
                for name, value in model.get_metrics(reset=True).items():
                    metrics[f"training_{name}"] = value
            # As the trainer computes it, from what all processes have.
            metrics["training_loss"] = dist_reduce_sum(self._loss_sum) / dist_reduce_sum(
                trainer._batches_in_epoch_completed
            )
            if is_primary:
                dump_metrics(os.path.join(self.serialization_dir, f"metrics_epoch_{epoch}.json"), metrics)
        self._loss_sum = 0.0

    def on_end(self, trainer: Any, is_primary: bool = True, **kwargs: Any) -> None:
        # The trainer calls this on its way out of a failure too, and tells nobody which.
        error = sys.exc_info()[1]
        if self._heartbeat is None:
            return
        if error is None:
            self._heartbeat.stop()
        else:
            self._heartbeat.fail(f"process {share().rank} failed, {type(error).__name__}: {error}")

    def gather(self) -> None:
        """
        Has `state_dict` hold what every process of a distributed training needs. They call this together; the checkpointer "bilm"
        does, before it saves.
        """
        self._states_of_all = gathered(self._state(), share().num_processes)

    def state_dict(self) -> dict[str, Any]:
        _, loader = self._parts()
        return {"text": loader.identity(), "processes": self._states_of_all or [self._state()]}

    def _state(self) -> ProcessState:
        model, _ = self._parts()
        return {"model": model.state_to_resume(), "loss_sum": self._loss_sum, "generators": _generators()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict

    def _check_processes(self, trainer: Any, loader: BilmDataLoader) -> None:
        if not isinstance(trainer._checkpointer, (Checkpointer.by_name("bilm"), type(None))):
            raise ConfigurationError(
                'the callback "bilm" needs the checkpointer "bilm" in distributed training, '
                f"got a {type(trainer._checkpointer).__name__}"
            )
        first, *others = of_all(loader.identity())
        for rank, other in enumerate(others, start=1):
            for name, value in other.items():
                if value != first[name]:
                    raise ConfigurationError(
                        f"all processes must train on the same text in the same layout, got another {name} in process {rank} "
                        f"than in process 0: {value} and {first[name]}"
                    )

    def _parts(self) -> tuple[BilmModel, BilmDataLoader]:
        assert self.trainer is not None
        model, loader = self.trainer.model, self.trainer.data_loader
        if not isinstance(model, BilmModel) or not isinstance(loader, BilmDataLoader):
            raise ConfigurationError(
                'the callback "bilm" needs the model and the data loader "bilm", '
                f"got a {type(model).__name__} and a {type(loader).__name__}"
            )
        return model, loader


def _generators() -> dict[str, Any]:
    """The states of all generators of random numbers, as tensors and plain numbers."""
    name, keys, position, has_gauss, cached_gaussian = np.random.get_state(legacy=True)  # type: ignore[misc]
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),
        "numpy": [
            str(name),
            torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            int(position),
            int(has_gauss),
            float(cached_gaussian),
        ],
        "python": random.getstate(),
    }


def _restore_generators(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    if len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    name, keys, *others = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *others))
    version, internal, gauss_next = states["python"]
    random.setstate((version, tuple(internal), gauss_next))
