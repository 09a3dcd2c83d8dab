"""Describe the machine and measure its peak rates."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from allennlp_elmo_plus.kernels.gemm.linear import linear

from .rounds import Contender, alternate, no_steal_time

_SGEMM_SIDE = 1024
_COPY_BYTES = 1 << 28
# Environment variables that change how glibc and OpenMP handle memory and threads.
_ENVIRONMENT = ("GLIBC_TUNABLES", "GOMP_SPINCOUNT", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def facts() -> dict[str, Any]:
    """Return a description of the machine and its software, for a report."""
    return {
        "cpu": cpu_model(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "environment": {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def rates(quick: bool = False, steal_time: Callable[[float, float], float] = no_steal_time) -> dict[str, float]:
    """
    Return the present rates of the machine: GFLOP/s of float32 products of square matrices, by the library that this package uses, with
    one thread and with all threads; and GB/s of copying memory (each byte counted once).

    The rates before and after a benchmark show how steady the machine is.
    """
    with threads(1):
        one_thread = _sgemm_gflops(quick, steal_time)
    return {
        "sgemm_gflops_1_thread": one_thread,
        "sgemm_gflops": _sgemm_gflops(quick, steal_time),
        "copy_gigabytes_per_second": _copy_rate(quick, steal_time),
    }


def _sgemm_gflops(quick: bool, steal_time: Callable[[float, float], float]) -> float:
    side = 128 if quick else _SGEMM_SIDE
    left, right = torch.rand(side, side), torch.rand(side, side)
    return 2 * side**3 / _median_seconds(lambda: linear(left, right), steal_time) / 1e9


def _copy_rate(quick: bool, steal_time: Callable[[float, float], float]) -> float:
    source = np.ones(1 << 20 if quick else _COPY_BYTES, dtype=np.uint8)
    target = np.empty_like(source)
    return source.nbytes / _median_seconds(lambda: np.copyto(target, source), steal_time) / 1e9


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Run a block with `number` PyTorch threads, for jobs that are measured on one core."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _median_seconds(job: Callable[[], Any], steal_time: Callable[[float, float], float]) -> float:
    turns = alternate([Contender("job", job)], rounds=5, steal_time=steal_time)
    return statistics.median(turn.mean for turn in turns["job"])


def cpu_model() -> str:
    """Return the processor's name, or "unknown"."""
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0
