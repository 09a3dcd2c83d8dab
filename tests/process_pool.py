"""Processes that wait for work, so that a test in several of them does not pay for starting them."""

import gc
import importlib
import pickle
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any, Optional

from tests.fork_server import ForkServer

_NO_MORE_WORK = b""


class ProcessPool:
    """Processes of `torch.distributed` over gloo, each with one thread: copies of `server`, started when they are needed."""

    def __init__(self, server: ForkServer, directory: Path) -> None:
        self._server, self._directory = server, directory
        self._num_runs = 0
        self._workers: list[tuple[int, Connection]] = []

    def run(self, num_processes: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """
        What `function`, a function of a module, returns in each of `num_processes` processes, by rank. Raises AssertionError with
        the tracebacks of those in which it fails.
        """
        self._num_runs += 1
        return self._run(str(self._directory / f"meeting-{self._num_runs}"), num_processes, function, arguments)

    def run_apart(self, num_processes: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """The same, of processes that have not met: `function` gets their rank first."""
        return self._run(None, num_processes, function, arguments)

    def _run(
        self, meeting_point: Optional[str], num_processes: int, function: Callable[..., Any], arguments: Any
    ) -> list[Any]:
        while len(self._workers) < num_processes:
            with Listener(family="AF_UNIX") as listener:
                self._workers.append((self._server.call(work, listener.address), listener.accept()))
        workers = self._workers[:num_processes]
        for rank, (_, pipe) in enumerate(workers):
            # Not as objects: tensors would go through shared memory.
            name = f"{function.__module__}:{function.__name__}"
            pipe.send_bytes(pickle.dumps((meeting_point, rank, num_processes, name, arguments)))
        answers = [pickle.loads(pipe.recv_bytes()) for _, pipe in workers]
        failures = [failure for failure, _ in answers if failure]
        assert not failures, "\n".join(failures)
        return [result for _, result in answers]

    def close(self) -> None:
        for process, pipe in self._workers:
            pipe.send_bytes(_NO_MORE_WORK)
            self._server.wait(process)


def work(address: str) -> None:
    """Does what it is told at `address`, until there is no more work."""
    import torch.distributed as dist

    pipe = Client(address)
    while True:
        work = pipe.recv_bytes()
        if work == _NO_MORE_WORK:
            return
        meeting_point, rank, num_processes, name, arguments = pickle.loads(work)
        result = failure = None
        try:
            module, function = name.split(":")
            job = getattr(importlib.import_module(module), function)
            if meeting_point is None:
                result = job(rank, *arguments)
            else:
                dist.init_process_group(
                    "gloo",
                    init_method=f"file://{meeting_point}",
                    rank=rank,
                    world_size=num_processes,
                    timeout=timedelta(seconds=120),
                )
                result = job(*arguments)
        except BaseException:
            failure = f"process {rank}: {traceback.format_exc()}"
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()
            # A wrapped model holds connections that the others wait on.
            gc.collect()
        pipe.send_bytes(pickle.dumps((failure, result)))
