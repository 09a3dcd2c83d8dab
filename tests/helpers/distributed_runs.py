"""`allennlp train` with `distributed`, in processes that wait for it: AllenNLP would start new ones, which takes it long."""

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

from allennlp_elmo_plus.plugin.training.callbacks import distributed_guard as process_watch
from allennlp_elmo_plus.training.distributed.heartbeat import Heartbeat
from allennlp_elmo_plus.training.distributed.world import world
from tests.helpers.process_pool import ProcessPool


class BrokenOff(Exception):
    pass


@TrainerCallback.register("records")
class Records(TrainerCallback):
    """Keeps the losses of training; process `rank` raises after `at` batches of it, or with `is_asked` is asked to stop."""

    losses: list[float] = []
    norms: list[float] = []

    def __init__(self, serialization_dir: str, at: Optional[int] = None, rank: int = 0, is_asked: bool = False) -> None:
        super().__init__(serialization_dir)
        self.at, self.rank, self.is_asked = at, rank, is_asked

    def on_batch(self, trainer: Any, inputs: Any, outputs: Any, metrics: Any, *rest: Any, **kwargs: Any) -> None:
        if not kwargs["is_training"]:
            return
        Records.losses.append(metrics["batch_loss"])
        Records.norms.append(trainer.optimizer.last_grad_norm)
        if world().rank == self.rank and len(Records.losses) == self.at:
            if not self.is_asked:
                raise BrokenOff(f"process {self.rank} was to fail")
            os.kill(os.getpid(), signal.SIGTERM)


@TrainerCallback.register("poisons")
class Poisons(TrainerCallback):
    """Has batch `at` of training, in process `rank`, get an infinite loss and a state that is not a number."""

    def __init__(self, serialization_dir: str, at: int, rank: int) -> None:
        super().__init__(serialization_dir)
        self.at, self.rank = at, rank

    def on_start(self, trainer: Any, is_primary: bool = True, **kwargs: Any) -> None:
        super().on_start(trainer, is_primary, **kwargs)
        model, batches = trainer.model.language_model, []
        compute = model.sampled_loss

        def poisoned(*arguments: Any) -> Any:
            result = compute(*arguments)
            batches.append(1)
            if len(batches) != self.at:
                return result
            state = type(result.state)(*(tensor * math.nan for tensor in result.state))
            return result._replace(forward_nll_sum=result.forward_nll_sum * math.inf, state=state)

        if world().rank == self.rank:
            model.sampled_loss = poisoned


def distributed(
    pool: ProcessPool,
    num_processes: int,
    config: dict[str, Any],
    directory: Path,
    recover: bool = False,
    machines: int = 1,
) -> list[dict[str, Any]]:
    """
    What `train_model` does for `distributed: {"cuda_devices": [-1, ...]}`, up to starting the processes. For each of them what
    `train_here` returns. With several `machines` each has a directory of its own, `directory` / its number.
    """
    homes = [directory / str(machine) if machines > 1 else directory for machine in range(machines)]
    params = Params(json.loads(json.dumps(config)))
    for home in homes:
        training_util.create_serialization_dir(params.duplicate(), str(home), recover, force=False)
        params.to_file(str(home / "config.json"))
        vocabulary = home / "vocabulary"
        if recover:
            vocab = Vocabulary.from_files(str(vocabulary))
        else:
            vocab = training_util.make_vocab_from_params(params.duplicate(), str(home))
        tokens = {"padding_token": vocab._padding_token, "oov_token": vocab._oov_token}
    worker = params.as_dict()
    worker["vocabulary"] = {"type": "from_files", **tokens}
    port = find_open_port()
    return pool.run_apart(num_processes, train_here, worker, [str(home) for home in homes], num_processes, port)


def train_here(rank: int, config: dict[str, Any], homes: list[str], num_processes: int, port: int) -> dict[str, Any]:
    """Of this process: losses and norms of each batch, the seed of its dropout, and the error that ended it, if one did."""
    Records.losses, Records.norms = [], []
    on_a_machine = num_processes // len(homes)
    machine, local_rank = divmod(rank, on_a_machine)
    home = homes[machine]
    config["vocabulary"]["directory"] = str(Path(home) / "vocabulary")
    error = None
    # These processes are to outlive a run that fails.
    process_watch.Heartbeat = partial(Heartbeat, interval=0.2, grace=3600)  # type: ignore[assignment,misc]
    try:
        _train_worker(
            local_rank,
            Params(config),
            home,
            node_rank=machine,
            primary_port=port,
            world_size=num_processes,
            distributed_device_ids=[-1] * on_a_machine,
            distributed_params=Params({}),
        )
    except (Exception, SystemExit) as raised:
        error = f"{type(raised).__name__}: {raised}"
    return {"losses": Records.losses, "norms": Records.norms, "seed": torch.initial_seed(), "error": error}


def weights(directory: Path, name: str = "best.th") -> dict[str, torch.Tensor]:
    return torch.load(directory / name, weights_only=True)


def metrics(directory: Path, epoch: int) -> dict[str, Any]:
    """Without those of time and memory."""
    read = json.loads((directory / f"metrics_epoch_{epoch}.json").read_text())
    timed = ("duration", "_MB", "tokens_per_second")
    return {key: value for key, value in read.items() if not any(word in key for word in timed)}
