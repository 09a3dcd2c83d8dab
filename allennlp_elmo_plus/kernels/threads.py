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

# With as many threads, each of two directions has several: for its products PyTorch's operations need OpenMP.
MIN_OPENMP_THREADS = 4

_num_taken = 1


def num_threads() -> int:
    """Return how many threads the tasks of `run_in_threads` may use together."""
    return max(_num_taken, torch.get_num_threads())


def take_threads() -> None:
    """Leave PyTorch's operations one of this process's few threads; the tasks of `run_in_threads` may still use all.

    The threads of one PyTorch operation wait for each other. Where another program uses the processors too, one of them waits for its
    turn and all others for it, at each of the hundreds of operations of a training step: the step takes ten times as long. Tasks meet
    only at their ends. On an idle machine, the operations outside of tasks are a few percent of a step.

    Changes nothing with `MIN_OPENMP_THREADS` or more, and with a single one.
    """
    global _num_taken
    if 1 < torch.get_num_threads() < MIN_OPENMP_THREADS:
        _num_taken = torch.get_num_threads()
        release_openmp_threads()
        torch.set_num_threads(1)


def balanced_groups(sizes: Sequence[int], num_groups: int) -> list[list[int]]:
    """Return the indices of `sizes` in `num_groups` groups whose sums differ little; the largest come first in each group."""
    groups: list[list[int]] = [[] for _ in range(num_groups)]
    sums = [0] * num_groups
    for index in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        least = sums.index(min(sums))
        groups[least].append(index)
        sums[least] += sizes[index]
    return groups


def run_in_threads(tasks: Sequence[Callable[[], T]], device: torch.device) -> list[T]:
    """Return the results of `tasks`, in order.

    On a CPU with at least as many threads (`num_threads()`) as tasks, the tasks run in parallel, each with an equal share of
    the threads. Otherwise they run one by one. The modes of gradients, inference and autocast are the caller's. If a task raises, all
    tasks that have begun end before the error of the first one is raised.

    Several threads may call this function at once. A task that no thread of the pool has begun when the caller has finished its own
    task is run by the caller, so no caller waits for the work of others.
    """
    before, share = torch.get_num_threads(), num_threads() // max(1, len(tasks))
    if device.type != "cpu" or len(tasks) < 2 or share == 0:
        return [task() for task in tasks]
    if share == 1 and before > 1:
        release_openmp_threads()
    grad_enabled, is_inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    autocast_enabled = torch.is_autocast_enabled("cpu")
    autocast_dtype = torch.get_autocast_dtype("cpu")

    def run(task: Callable[[], T]) -> T:
        # PyTorch and OpenMP have these settings per thread.
        torch.set_num_threads(share)
        # The first of these switches gradients too.
        with torch.inference_mode(is_inference), torch.set_grad_enabled(grad_enabled):
            with torch.autocast("cpu", autocast_dtype, autocast_enabled):
                return task()

    pool = _pool(os.getpid())
    others = [pool.submit(run, task) for task in tasks[1:]]
    try:
        results = [run(tasks[0])]
        for task, other in zip(tasks[1:], others, strict=True):
            results.append(run(task) if other.cancel() else other.result())
    finally:
        for other in others:
            if not other.cancel():
                other.exception()
        torch.set_num_threads(before)
    return results


# A forked process cannot use the threads of its parent.
@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    # It starts a thread only where no other is idle.
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="elmo-plus")
