"""A function called in several processes at once."""

import importlib
import os
import pickle
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Any, Optional

from tests.helpers.runs.fork_server import ForkServer


class ProcessPool:
    """Calls functions in forks of `server`, each with one thread. Each call has new processes."""

    def __init__(self, server: ForkServer, directory: Path) -> None:
        self._server, self._directory = server, directory
        self._num_runs = 0

    def run(self, num_processes: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """
        Call the module-level `function` in each of `num_processes` processes, which form a gloo group of `torch.distributed`.

        Returns:
            The results by rank.

        Raises:
            AssertionError: The function raised in a process. The message holds the tracebacks of all failed processes.
        """
        self._num_runs += 1
        return self._run(str(self._directory / f"group-{self._num_runs}"), num_processes, function, arguments)

    def run_unconnected(self, num_processes: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Call `function` as `run` does, but without a process group; its first argument is the rank."""
        return self._run(None, num_processes, function, arguments)

    def _run(
        self, group_file: Optional[str], num_processes: int, function: Callable[..., Any], arguments: Any
    ) -> list[Any]:
        name = f"{function.__module__}:{function.__name__}"
        workers = []
        with Listener(family="AF_UNIX") as listener:
            for rank in range(num_processes):
                process = self._server.call(work, listener.address)
                pipe = listener.accept()
                # `pipe.send` would put tensors into shared memory.
                pipe.send_bytes(pickle.dumps((group_file, rank, num_processes, name, arguments)))
                workers.append((process, pipe))
        answers = [pickle.loads(pipe.recv_bytes()) for _, pipe in workers]
        for process, _ in workers:
            self._server.wait(process)
        failures = [failure for failure, _ in answers if failure]
        assert not failures, "\n".join(failures)
        return [result for _, result in answers]


def work(address: str) -> None:
    """Receive a function from the socket `address`, call it, and send its result or its traceback."""
    import torch.distributed as dist

    pipe = Client(address)
    group_file, rank, num_processes, name, arguments = pickle.loads(pipe.recv_bytes())
    result = failure = None
    try:
        module, function = name.split(":")
        job = getattr(importlib.import_module(module), function)
        if group_file is None:
            result = job(rank, *arguments)
        else:
            dist.init_process_group(
                "gloo",
                init_method=f"file://{group_file}",
                rank=rank,
                world_size=num_processes,
                timeout=timedelta(seconds=120),
            )
            # No process may end while another one still connects to it.
            dist.barrier()
            result = job(*arguments)
    except BaseException:
        failure = f"process {rank}: {traceback.format_exc()}"
    pipe.send_bytes(pickle.dumps((failure, result)))
    # The end of the process closes its connections, which the other processes notice. Freeing the connections of an unfinished
    # all-reduce one by one could wait forever.
    os._exit(0)
