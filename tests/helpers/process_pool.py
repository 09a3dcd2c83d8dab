"""Functions called in several processes at once, each with its rank, in a test."""

import importlib
import os
import pickle
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Any, Optional

from tests.helpers.fork_server import ForkServer


class ProcessPool:
    """Processes of `torch.distributed` over gloo, each with one thread: copies of `server`, new ones for each run."""

    def __init__(self, server: ForkServer, directory: Path) -> None:
        self._server, self._directory = server, directory
        self._num_runs = 0

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
        name = f"{function.__module__}:{function.__name__}"
        workers = []
        with Listener(family="AF_UNIX") as listener:
            for rank in range(num_processes):
                process = self._server.call(work, listener.address)
                pipe = listener.accept()
                # Not as objects: tensors would go through shared memory.
                pipe.send_bytes(pickle.dumps((meeting_point, rank, num_processes, name, arguments)))
                workers.append((process, pipe))
        answers = [pickle.loads(pipe.recv_bytes()) for _, pipe in workers]
        for process, _ in workers:
            self._server.wait(process)
        failures = [failure for failure, _ in answers if failure]
        assert not failures, "\n".join(failures)
        return [result for _, result in answers]


def work(address: str) -> None:
    """Does what it is told at `address`."""
    import torch.distributed as dist

    pipe = Client(address)
    meeting_point, rank, num_processes, name, arguments = pickle.loads(pipe.recv_bytes())
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
            # A process whose job is short must not end while another one still connects to it.
            dist.barrier()
            result = job(*arguments)
    except BaseException:
        failure = f"process {rank}: {traceback.format_exc()}"
    pipe.send_bytes(pickle.dumps((failure, result)))
    # As Python's own end does, this tells the others that are in the middle of an exchange; freeing the connections of such an
    # exchange one by one can wait for ever.
    os._exit(0)
