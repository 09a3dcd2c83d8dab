"""Run `allennlp train` in a separate process that trains on request and reports the time of each batch."""

import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from allennlp.commands import main
from allennlp.training.callbacks import TrainerCallback

from . import allennlp_parts  # noqa: F401
from .turns import redirect_output, turns


@TrainerCallback.register("benchmark_clock")
class Clock(TrainerCallback):
    """Answers the messages of `Clock.pipe` as `turns` does."""

    pipe: Connection
    num_threads: int

    def __init__(self, serialization_dir: str, warm_up: int, batches_per_turn: int) -> None:
        super().__init__(serialization_dir)
        self._turns = turns(Clock.pipe, warm_up, batches_per_turn)

    def on_start(self, *args: Any, **kwargs: Any) -> None:
        torch.set_num_threads(Clock.num_threads)

    def on_batch(self, *args: Any, **kwargs: Any) -> None:
        next(self._turns)


def train(arguments: list[str], num_threads: int, pipe: Connection, log: Path) -> None:
    """Run `allennlp` with `arguments`, with the components of the benchmarks registered; its output goes to `log`."""
    redirect_output(log)
    Clock.pipe, Clock.num_threads = pipe, num_threads
    sys.argv = ["allennlp", *arguments]
    main(prog="allennlp")
