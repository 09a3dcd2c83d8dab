"""The child's side of a training that runs in turns: it trains on request and reports the time of each batch."""

import os
import time
from collections.abc import Iterator
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

from ..measurement.rounds import Interval


def turns(pipe: Connection, warm_up: int, batches_per_turn: int) -> Iterator[None]:
    """
    Return an iterator for `next` at the end of each batch. It sends None on `pipe` after `warm_up` batches, then waits for messages. For
    each True it sends the intervals of the next `batches_per_turn` batches, from the end of the batch before. False ends the training.
    """
    for _ in range(warm_up - 1):
        yield
    pipe.send(None)
    while pipe.recv():
        ends = [time.perf_counter()]
        for _ in range(batches_per_turn):
            yield
            ends.append(time.perf_counter())
        pipe.send([Interval(*interval) for interval in pairwise(ends)])
    raise SystemExit


def redirect_output(log: Path) -> None:
    """Write what this process prints to the file `log`."""
    with log.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
