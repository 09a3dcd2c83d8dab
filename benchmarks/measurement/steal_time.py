"""
CPU steal time of the whole machine.

A host may stop a virtual machine for some of every ten seconds, while the clock of the virtual machine continues. A process with
real-time priority wakes on every processor several hundred times per second. If it wakes late on all processors, the machine was stopped.

A stop of only one processor is not detected; its time stays in the results.
"""

import ctypes
import multiprocessing
import os
import threading
import time
from typing import Any, Optional

import numpy as np

INTERVAL, THRESHOLD = 0.002, 0.005
# The number of stops that are stored: more than ten hours of a machine that is stopped ten times per second.
CAPACITY = 1 << 19
# At most this many processors are watched.
_MAX_WATCHED = 4


class StealTimeWatch:
    """
    A context in which stops are detected. Times are those of `time.perf_counter`, which on Linux is one clock for all processes.

    Attributes:
        watching: False if stops cannot be detected (no Linux, or no right to real-time priority).
    """

    def __init__(self) -> None:
        context: Any = multiprocessing.get_context("spawn")
        self._stops = context.RawArray(ctypes.c_double, 2 * CAPACITY)
        self._number = context.RawValue(ctypes.c_longlong)
        self._awake = context.RawValue(ctypes.c_double)
        self._process = context.Process(target=_watch, args=(self._stops, self._number, self._awake), daemon=True)
        self.watching = False

    def __enter__(self) -> "StealTimeWatch":
        if hasattr(os, "sched_setscheduler"):
            self._process.start()
            while not self._awake.value and self._process.is_alive():
                time.sleep(INTERVAL)
            self.watching = self._process.is_alive()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._process.pid is not None:
            self._process.kill()
            self._process.join()
        self.watching = False

    def within(self, start: float, end: float) -> float:
        """Return the seconds between `start` and `end` in which the machine was stopped."""
        if not self.watching:
            return 0.0
        # A stop that has just ended may not have been recorded yet.
        while self._awake.value < end and self._process.is_alive():
            time.sleep(INTERVAL)
        number = min(self._number.value, CAPACITY)
        return overlap_seconds(np.frombuffer(self._stops).reshape(CAPACITY, 2)[:number], start, end)


def overlap_seconds(stops: np.ndarray, start: float, end: float) -> float:
    """Return the number of seconds between `start` and `end` that lie in `stops`, (n, 2): the start and end of each stop."""
    return float((np.minimum(stops[:, 1], end) - np.maximum(stops[:, 0], start)).clip(min=0).sum())


def _watch(stops: Any, number: Any, awake: Any) -> None:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        return
    parent = os.getppid()
    watchers = [_Watcher(stops, number, awake, cpu) for cpu in sorted(os.sched_getaffinity(0))[:_MAX_WATCHED]]
    for watcher in watchers:
        watcher.start()
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


class _Watcher(threading.Thread):
    """A thread that wakes on one processor. All watchers share the last time at which any of them was awake."""

    _lock = threading.Lock()
    _latest: Optional[float] = None

    def __init__(self, stops: Any, number: Any, awake: Any, cpu: int) -> None:
        super().__init__(daemon=True)
        self._stops, self._number, self._awake, self._cpu = stops, number, awake, cpu

    def run(self) -> None:
        # On Linux this sets the affinity of this thread only. The thread inherits its priority.
        os.sched_setaffinity(0, {self._cpu})
        while True:
            with _Watcher._lock:
                now = time.perf_counter()
                latest = _Watcher._latest
                if latest is not None and now - latest > THRESHOLD:
                    index = 2 * (self._number.value % CAPACITY)
                    self._stops[index : index + 2] = latest + INTERVAL, now
                    self._number.value += 1
                _Watcher._latest = self._awake.value = now
            time.sleep(INTERVAL)
