"""Distributed trainings in copies of the fork server, which start faster than the new processes that AllenNLP would start."""

import itertools
import json
import math
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any, Optional

import torch
from allennlp.commands.train import _train_worker
from allennlp.common import Params
from allennlp.common.util import find_open_port
from allennlp.data import Vocabulary
from allennlp.training import util as training_util
from allennlp.training.callbacks import TrainerCallback

from allennlp_elmo_plus.plugin.training.callbacks import distributed_guard
from allennlp_elmo_plus.training.distributed.heartbeat import Heartbeat
from allennlp_elmo_plus.training.distributed.world import world
from tests.helpers.runs.interrupted_runs import reproducible_metrics
from tests.helpers.runs.process_pool import ProcessPool


class PlannedFailure(Exception):
    pass


@TrainerCallback.register("loss-recorder")
class LossRecorder(TrainerCallback):
    """
    Record the loss and the gradient norm of each training batch. After `after_batch` training batches, process `rank` raises
    PlannedFailure; with `sends_sigterm` it sends itself SIGTERM instead.
    """

    losses: list[float] = []
    norms: list[float] = []

    def __init__(
        self, serialization_dir: str, after_batch: Optional[int] = None, rank: int = 0, sends_sigterm: bool = False
    ) -> None:
        super().__init__(serialization_dir)
        self.after_batch, self.rank, self.sends_sigterm = after_batch, rank, sends_sigterm

    def on_batch(self, trainer: Any, inputs: Any, outputs: Any, metrics: Any, *rest: Any, **kwargs: Any) -> None:
        if not kwargs["is_training"]:
            return
        LossRecorder.losses.append(metrics["batch_loss"])
        LossRecorder.norms.append(trainer.optimizer.last_grad_norm)
        if world().rank == self.rank and len(LossRecorder.losses) == self.after_batch:
            if not self.sends_sigterm:
                raise PlannedFailure(f"process {self.rank} was to fail")
            os.kill(os.getpid(), signal.SIGTERM)


@TrainerCallback.register("nonfinite-batch")
class NonfiniteBatch(TrainerCallback):
    """Give training batch `batch_number` (from 1) of process `rank` an infinite loss and a state of NaN."""

    def __init__(self, serialization_dir: str, batch_number: int, rank: int) -> None:
        super().__init__(serialization_dir)
        self.batch_number, self.rank = batch_number, rank

    def on_start(self, trainer: Any, is_primary: bool = True, **kwargs: Any) -> None:
        super().on_start(trainer, is_primary, **kwargs)
        model, batch_numbers = trainer.model.language_model, itertools.count(1)
        sampled_loss = model.sampled_loss

        def nonfinite_loss(*arguments: Any) -> Any:
            result = sampled_loss(*arguments)
            if next(batch_numbers) != self.batch_number:
                return result
            state = type(result.state)(*(tensor * math.nan for tensor in result.state))
            return result._replace(forward_nll_sum=result.forward_nll_sum * math.inf, state=state)

        if world().rank == self.rank:
            model.sampled_loss = nonfinite_loss


def train_in_processes(
    pool: ProcessPool,
    num_processes: int,
    config: dict[str, Any],
    directory: Path,
    recover: bool = False,
) -> list[dict[str, Any]]:
    """
    Train into `directory` with `num_processes` processes, as `train_model` does for `distributed: {"cuda_devices": [-1, ...]}`.

    Returns:
        The result of `train_in_this_process` in each process, by rank.
    """
    params = Params(json.loads(json.dumps(config)))
    training_util.create_serialization_dir(params.duplicate(), str(directory), recover, force=False)
    params.to_file(str(directory / "config.json"))
    vocabulary_dir = str(directory / "vocabulary")
    if recover:
        vocab = Vocabulary.from_files(vocabulary_dir)
    else:
        vocab = training_util.make_vocab_from_params(params.duplicate(), str(directory))
    worker_config = params.as_dict()
    worker_config["vocabulary"] = {
        "type": "from_files",
        "directory": vocabulary_dir,
        "padding_token": vocab._padding_token,
        "oov_token": vocab._oov_token,
    }
    arguments = (worker_config, str(directory), num_processes, find_open_port())
    return pool.run_unconnected(num_processes, train_in_this_process, *arguments)


def train_in_this_process(
    rank: int, config: dict[str, Any], directory: str, num_processes: int, port: int
) -> dict[str, Any]:
    """Train as process `rank`. Return the losses and gradient norms of its batches, its seed, and its error or None."""
    LossRecorder.losses, LossRecorder.norms = [], []
    error = None
    # The heartbeat must not end this process when another one fails: the test reads the error of each.
    distributed_guard.Heartbeat = partial(Heartbeat, interval=0.2, grace=3600)  # type: ignore[assignment,misc]
    try:
        _train_worker(
            rank,
            Params(config),
            directory,
            node_rank=0,
            primary_port=port,
            world_size=num_processes,
            distributed_device_ids=[-1] * num_processes,
            distributed_params=Params({}),
        )
    except (Exception, SystemExit) as raised:
        error = f"{type(raised).__name__}: {raised}"
    return {"losses": LossRecorder.losses, "norms": LossRecorder.norms, "seed": torch.initial_seed(), "error": error}


def read_weights(directory: Path, name: str = "best.th") -> dict[str, torch.Tensor]:
    return torch.load(directory / name, weights_only=True)


def read_metrics(directory: Path, epoch: int) -> dict[str, Any]:
    """Return the metrics of `epoch` without those of time and memory."""
    return reproducible_metrics(directory / f"metrics_epoch_{epoch}.json")
