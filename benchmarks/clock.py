"""
The times between batches of `allennlp train`, measured from inside:  python -m benchmarks.clock train CONFIG -s OUT ...

Runs AllenNLP's own command line with the benchmarks' components at hand. `--include-package` would not find them: AllenNLP looks
among installed packages first, and there may be one called `benchmarks`.
"""

import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from allennlp.commands import main
from allennlp.training.callbacks import TrainerCallback

from . import allennlp_parts  # noqa: F401
from .settings import THREADS_VARIABLE

_LAST_WINDOWS = 2


@TrainerCallback.register("benchmark_clock")
class Clock(TrainerCallback):
    """
    Writes clock.json into the serialization directory: the mean and the least of the seconds between the ends of two batches, from
    batch `warm_up` on. The last windows of an epoch, which not all lanes fill, are left out.
    """

    def __init__(self, serialization_dir: str, warm_up: int) -> None:
        super().__init__(serialization_dir)
        self.warm_up = warm_up
        self._ends: list[float] = []

    def on_start(self, *args: Any, **kwargs: Any) -> None:
        torch.set_num_threads(int(os.environ[THREADS_VARIABLE]))

    def on_batch(self, *args: Any, **kwargs: Any) -> None:
        self._ends.append(time.perf_counter())

    def on_epoch(self, *args: Any, **kwargs: Any) -> None:
        ends = self._ends[self.warm_up - 1 : -_LAST_WINDOWS]
        seconds = [end - start for start, end in zip(ends, ends[1:])]
        clock = {"mean": statistics.fmean(seconds), "fastest": min(seconds)}
        (Path(self.serialization_dir) / "clock.json").write_text(json.dumps(clock), encoding="utf-8")


def run_in_this_process(arguments: list[str], environment: dict[str, str]) -> None:
    """AllenNLP's command line without a process of its own: at once, and beside whatever this process holds."""
    with patch.object(sys, "argv", ["allennlp", *arguments]), patch.dict(os.environ, environment):
        main(prog="allennlp")


if __name__ == "__main__":
    main(prog="allennlp")
