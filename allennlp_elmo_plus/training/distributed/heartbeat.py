"""A heartbeat that ends a training of several processes when one process is lost.

A collective waits for a dead process until its time limit, half an hour with gloo. It ends earlier only if the system reports a
closed connection, which it cannot do for a machine that lost power. Therefore each process increments a heartbeat in the store
through which the processes met. Process 0 watches the other processes, and they watch whether process 0 still answers.
"""

import math
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Optional

import torch.distributed as dist

# With the grace period below, every process has ended within 50 s.
INTERVAL_SECONDS = 3.0
PATIENCE_SECONDS = 30.0
# Grace period in which a failing process reports its own error to its parent process, before the other processes end.
GRACE_SECONDS = 12.0

_FAILURE = "bilm/failure"
_FINISHED = 1 << 40


def log(message: str) -> None:
    """Print `message` to stderr, without buffering, in a line of its own: the last one may be a progress bar."""
    print(f"\n{message}", file=sys.stderr, flush=True)


def exit_now() -> None:
    """End this process with status 1, even while its main thread waits."""
    os._exit(1)


def connect_to_store() -> Optional[dist.Store]:
    """Return a new connection to the store through which the processes of `torch.distributed` met, or None without an address."""
    store: Any = dist.distributed_c10d._get_default_store()
    while isinstance(store, dist.PrefixStore):
        store = store.underlying_store
    if not isinstance(store, dist.TCPStore):
        return None
    return dist.TCPStore(store.host, store.port, is_master=False, timeout=timedelta(seconds=PATIENCE_SECONDS))


class Heartbeat:
    """The heartbeat of one process, from `start` to `stop` or `fail`.

    When a process gives no heartbeat for `timeout` seconds, or fails, a thread of every other process calls `on_loss`, and then
    `end`, unless that process fails or stops by itself within `grace` seconds. Silence is counted in rounds of `interval` seconds
    in which this process itself ran: after a suspension of its own it does not take other processes for dead.

    Args:
        store: The store that all processes share.
        rank: The rank of this process.
        num_processes: The number of processes.
        interval: Seconds between two heartbeats.
        timeout: Seconds without a heartbeat after which a process is lost.
        grace: Seconds between `on_loss` and `end`.
        on_loss: Called with one line that names the lost process.
        end: Ends this process.
    """

    def __init__(
        self,
        store: dist.Store,
        rank: int,
        num_processes: int,
        interval: float = INTERVAL_SECONDS,
        timeout: float = PATIENCE_SECONDS,
        grace: float = GRACE_SECONDS,
        on_loss: Callable[[str], Any] = log,
        end: Callable[[], Any] = exit_now,
    ) -> None:
        self._store = store
        self._rank, self._others = rank, [other for other in range(num_processes) if other != rank]
        self._interval, self._patience = interval, math.ceil(timeout / interval)
        self._grace, self._on_loss, self._end = grace, on_loss, end
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._rounds_without_answer = 0
        # Per process: its heartbeat, and the rounds since the heartbeat last changed.
        self._beats = {other: (0, 0) for other in self._others}

    def start(self) -> None:
        """Start the threads; all processes must do so within `timeout` seconds of each other."""
        for work in (self._beat, self._watch_process_0):
            self._threads.append(threading.Thread(target=work, name="bilm-heartbeat", daemon=True))
            self._threads[-1].start()

    def fail(self, error: str) -> str:
        """Stop watching, and end all other processes with `error`.

        Where another process failed before, `error` may only be a consequence, such as a closed connection. `on_loss` is then
        called with the first error.

        Returns:
            The first error of any process.
        """
        self._stopped.set()
        try:
            first = self._store.compare_set(_FAILURE, "", error).decode("utf-8", "replace")
        except RuntimeError:
            # Process 0 is lost, and the other processes notice it.
            return "process 0 does not answer"
        if first != error:
            self._on_loss(f"process {self._rank} ends: {first}")
        if self._rank == 0:
            # The store ends with this process; the other processes must read it once more.
            time.sleep(2 * self._interval)
        return first

    def stop(self) -> None:
        """Stop watching. Process 0 holds the store, and therefore waits up to `timeout` seconds until the other processes stop."""
        self._stopped.set()
        try:
            self._store.add(self._key(self._rank), _FINISHED)
            pause = min(0.1, self._interval)
            for _ in range(math.ceil(self._patience * self._interval / pause) if self._rank == 0 else 0):
                if all(self._beat_of(other) >= _FINISHED for other in self._others):
                    break
                time.sleep(pause)
        except RuntimeError:
            # The store, and with it process 0, has ended.
            pass
        for thread in self._threads:
            thread.join(2 * self._interval)

    def _beat(self) -> None:
        while not self._stopped.is_set():
            try:
                self._store.add(self._key(self._rank), 1)
                failure = self._failure()
                self._rounds_without_answer = 0
            except RuntimeError as error:
                failure = f"process 0 does not answer: {error}"
            if failure is not None:
                self._lose(failure)
                return
            self._stopped.wait(self._interval)

    def _failure(self) -> Optional[str]:
        """Return the error that ends the training, or None. Process 0 detects lost processes for all processes."""
        if self._rank == 0:
            for other, (beat, rounds) in self._beats.items():
                new = self._beat_of(other)
                self._beats[other] = (new, 0) if new != beat else (beat, rounds + 1)
                if new < _FINISHED and self._beats[other][1] > self._patience:
                    self._store.compare_set(_FAILURE, "", f"process {other} is not heard of any more")
        if not self._store.check([_FAILURE]):
            return None
        return self._store.get(_FAILURE).decode("utf-8", "replace")

    def _watch_process_0(self) -> None:
        """Detect that process 0 does not answer, for which the thread of `_beat` waits."""
        while not self._stopped.wait(self._interval):
            self._rounds_without_answer += 1
            if self._rounds_without_answer > self._patience + 1:
                self._lose("process 0 does not answer")
                return

    def _lose(self, failure: str) -> None:
        if not self._stopped.is_set():
            self._on_loss(f"process {self._rank} ends: {failure}")
            if not self._stopped.wait(self._grace):
                self._end()

    def _beat_of(self, other: int) -> int:
        return self._store.add(self._key(other), 0)

    @staticmethod
    def _key(rank: int) -> str:
        return f"bilm/beat/{rank}"
