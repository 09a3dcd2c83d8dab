"""Run `allennlp train` in a separate process that trains on request and reports the time of each batch."""

import os
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Optional

import torch
from allennlp.commands import main
from allennlp.training.callbacks import TrainerCallback

from ..measurement.rounds import Interval
from . import allennlp_parts  # noqa: F401


@TrainerCallback.register("benchmark_clock")
class Clock(TrainerCallback):
    """
    Send None on `Clock.pipe` after `warm_up` batches, then wait for messages. For each True, send the intervals of the next
    `batches_per_turn` batches. An interval is from the end of the previous batch to the end of the batch. False ends the training.
    """

    pipe: Connection
    num_threads: int

    def __init__(self, serialization_dir: str, warm_up: int, batches_per_turn: int) -> None:
        super().__init__(serialization_dir)
        self._warm_up, self._batches_per_turn = warm_up, batches_per_turn
        self._intervals: list[Interval] = []
        self._last_end: Optional[float] = None

    def on_start(self, *args: Any, **kwargs: Any) -> None:
        torch.set_num_threads(Clock.num_threads)

    def on_batch(self, *args: Any, **kwargs: Any) -> None:
        now = time.perf_counter()
        if self._last_end is None:
            self._warm_up -= 1
            if self._warm_up:
                return
            Clock.pipe.send(None)
        else:
            self._intervals.append(Interval(self._last_end, now))
            if len(self._intervals) == self._batches_per_turn:
                Clock.pipe.send(self._intervals)
                self._intervals = []
        if not self._intervals:
            if not Clock.pipe.recv():
                raise SystemExit
            now = time.perf_counter()
        self._last_end = now


def train(arguments: list[str], num_threads: int, pipe: Connection, log: Path) -> None:
    """Run `allennlp` with `arguments`, with the components of the benchmarks registered; its output goes to `log`."""
    with log.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    Clock.pipe, Clock.num_threads = pipe, num_threads
    sys.argv = ["allennlp", *arguments]
    main(prog="allennlp")
