"""Ending a run of several processes when one of them is gone.

Who waits for a process that died waits for the time limit of its collectives, half an hour with gloo, unless the system tells it
that the connection is gone, which a machine without power does not. So each process counts up a heartbeat in the store at which
the processes met. Process 0 watches the others, and they watch whether process 0 still answers.
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

# Together with the grace below, every process has ended within 50 s.
INTERVAL_SECONDS = 3.0
PATIENCE_SECONDS = 30.0
# For a process that fails by itself to say so to whoever started it, before others end and draw the attention to them.
GRACE_SECONDS = 12.0

_FAILURE = "bilm/failure"
_FINISHED = 1 << 40


def log(message: str) -> None:
    """Prints `message` on stderr at once."""
    print(message, file=sys.stderr, flush=True)


def exit_now() -> None:
    """Ends this process with status 1, whatever its main thread is waiting for."""
    os._exit(1)


def store_of_processes() -> Optional[dist.Store]:
    """A connection of its own to the store at which the processes of `torch.distributed` met; None where that has no address."""
    store: Any = dist.distributed_c10d._get_default_store()
    while isinstance(store, dist.PrefixStore):
        store = store.underlying_store
    if not isinstance(store, dist.TCPStore):
        return None
    return dist.TCPStore(store.host, store.port, is_master=False, timeout=timedelta(seconds=PATIENCE_SECONDS))


class Heartbeat:
    """The heartbeat of process `rank` of `num_processes`, from `start` to `stop` or `fail`.

    When a process has not been heard of for `timeout` seconds, or one fails, every other process says so (`on_loss`), from a
    thread, and `end`s, unless within `grace` seconds it fails or stops by itself. Silence is counted in rounds of `interval`
    seconds that this process itself has lived through: one that was stopped for a while takes nobody for dead.
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
        # Of each process its heartbeat, and the rounds since that last changed.
        self._beats = {other: (0, 0) for other in self._others}

    def start(self) -> None:
        """Begins to beat and to watch. All processes start within `timeout` seconds of each other."""
        for work in (self._beat, self._watch_process_0):
            self._threads.append(threading.Thread(target=work, name="bilm-heartbeat", daemon=True))
            self._threads[-1].start()

    def fail(self, error: str) -> None:
        """Ends the watch here, and has all other processes end with `error`. Where one failed before, this error may be but what
        follows from it, such as a connection that is gone: then says what happened there.
        """
        self._stopped.set()
        try:
            first = self._store.compare_set(_FAILURE, "", error).decode("utf-8", "replace")
        except RuntimeError:
            # Process 0 is gone, and the others know.
            return
        if first != error:
            self._on_loss(f"process {self._rank} ends: {first}")
        if self._rank == 0:
            # The store goes with this process: long enough for all others to look once more.
            time.sleep(2 * self._interval)

    def stop(self) -> None:
        """Ends the watch. The store goes with process 0, which therefore waits up to `timeout` seconds for the others to stop."""
        self._stopped.set()
        try:
            self._store.add(self._key(self._rank), _FINISHED)
            pause = min(0.1, self._interval)
            for _ in range(math.ceil(self._patience * self._interval / pause) if self._rank == 0 else 0):
                if all(self._beat_of(other) >= _FINISHED for other in self._others):
                    break
                time.sleep(pause)
        except RuntimeError:
            # Nobody is left to wait for.
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
        """What ended the run, if anything did. Process 0 finds out who is gone, for all of them."""
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
        """An answer that never comes leaves the other thread waiting."""
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
