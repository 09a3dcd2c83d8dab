"""Independent tasks at the same time, one thread each.

The two directions of a biLM share nothing until the loss. Each is a sequence of small operations that several threads cannot speed
up much, but two sequences fit two cores: PyTorch releases Python's lock inside each operation.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch

from allennlp_elmo_plus.kernels.openmp import release_openmp_threads

T = TypeVar("T")


def run_in_threads(tasks: Sequence[Callable[[], T]], device: torch.device) -> list[T]:
    """Return the results of `tasks`, in order.

    On a CPU with at least as many threads (`torch.get_num_threads()`) as tasks, the tasks run in parallel, each with an equal share of
    the threads. Otherwise they run one by one. Gradient mode and autocast are the caller's. If a task raises, all tasks that have
    begun end before the error of the first one is raised.

    Several threads may call this function at once. A task that no thread of the pool has begun when the caller has finished its own
    task is run by the caller, so no caller waits for the work of others.
    """
    num_threads = torch.get_num_threads()
    if device.type != "cpu" or len(tasks) < 2 or num_threads < len(tasks):
        return [task() for task in tasks]
    share = num_threads // len(tasks)
    if share == 1:
        release_openmp_threads()
    grad_enabled, autocast_enabled = torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")
    autocast_dtype = torch.get_autocast_dtype("cpu")

    def run(task: Callable[[], T]) -> T:
        # PyTorch and OpenMP have these settings per thread.
        torch.set_num_threads(share)
        with torch.set_grad_enabled(grad_enabled), torch.autocast("cpu", autocast_dtype, autocast_enabled):
            return task()

    pool = _pool(os.getpid(), len(tasks) - 1)
    others = [pool.submit(run, task) for task in tasks[1:]]
    try:
        results = [run(tasks[0])]
        for task, other in zip(tasks[1:], others, strict=True):
            results.append(run(task) if other.cancel() else other.result())
    finally:
        for other in others:
            if not other.cancel():
                other.exception()
        torch.set_num_threads(num_threads)
    return results


# A forked process cannot use the threads of its parent.
@lru_cache(maxsize=1)
def _pool(process: int, num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix="elmo-plus")
