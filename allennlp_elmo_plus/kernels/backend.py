"""
Which implementation of an operation computes: the one table of all thresholds.

An operation has a definition in plain PyTorch (`reference`) and up to three faster implementations, its backends:

| Backend | Computes |
|---|---|
| `triton` | on a GPU |
| `numba` | on a CPU, in float32 |
| `torch` | anywhere, with PyTorch's operations |
| `reference` | anywhere; slow, to read and to test against |

`run` takes the first backend of this list that can compute and is faster than those below it, by `TABLE`. Sizes and settings
decide, never a measurement at run time: the same training must give the same bits. `ELMO_PLUS_BACKEND=torch` forces a backend, for
reports of errors and for tests: those above it are not used, and it is used wherever it can compute.

A backend whose kernel fails to import or to compile is logged once, and the next one computes.

The LSTM and the fingerprint do not use `run` yet: `loops_for` below chooses for them, and no variable forces their backend.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from threading import Lock
from types import ModuleType
from typing import NamedTuple, Optional, TypeVar

import torch
from torch import Tensor

from allennlp_elmo_plus.kernels.jit import KernelUnavailableError

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

VARIABLE = "ELMO_PLUS_BACKEND"
# A compiled loop runs on one thread, and took a tenth to a half of the time of PyTorch's operations on one: with more threads
# than this they should be the faster.
MAX_THREADS = 4

BACKENDS = ("triton", "numba", "torch", "reference")


class Situation(NamedTuple):
    """What a rule of the table may look at."""

    device: str
    dtype: torch.dtype
    threads: int
    sizes: Mapping[str, int]


Rule = Callable[[Situation], bool]


class Backend(NamedTuple):
    """When a backend can compute an operation, and when it is faster than the backends below it."""

    can: Rule
    is_faster: Rule


_forced: Optional[str] = None
_failed: set[tuple[str, str]] = set()
# Both directions may find the same kernel unavailable at once.
_lock = Lock()


def run(operation: str, like: Tensor, implementations: Mapping[str, Callable[[], Result]], **sizes: int) -> Result:
    """
    Return the result of the implementation that is the fastest here.

    Args:
        operation: A key of `TABLE`.
        like: A tensor of the device and dtype that the operation computes with.
        implementations: A function without arguments for each backend that the operation has.
        sizes: The sizes that the operation's rules in `TABLE` read.
    """
    backends = [backend for backend in candidates(operation, like, **sizes) if backend in implementations]
    # An operation that has no implementation as low as the forced one is computed by its lowest.
    *others, last = backends or [max(implementations, key=BACKENDS.index)]
    for backend in others:
        try:
            return implementations[backend]()
        except (ImportError, KernelUnavailableError) as error:
            with _lock:
                is_known = (operation, backend) in _failed
                _failed.add((operation, backend))
            if not is_known:
                logger.warning(
                    "`%s` cannot be computed by %s, the next backend computes it: %s", operation, backend, error
                )
    return implementations[last]()


def candidates(operation: str, like: Tensor, **sizes: int) -> Iterator[str]:
    """Yield the backends that can compute `operation`, in the order in which they are tried."""
    forced = forced_backend()
    situation = Situation(like.device.type, like.dtype, torch.get_num_threads(), sizes)
    first = BACKENDS.index(forced) if forced else 0
    rules = TABLE[operation]
    for backend in BACKENDS[first:]:
        if (operation, backend) in _failed:
            continue
        rule = rules.get(backend)
        if rule is None:
            # Plain PyTorch needs no rule.
            if backend in ("torch", "reference"):
                yield backend
        elif rule.can(situation) and (backend == forced or rule.is_faster(situation)):
            yield backend


def forced_backend() -> Optional[str]:
    """
    Return the backend that `ELMO_PLUS_BACKEND` or `force` names, or None.

    Raises:
        ValueError: The variable names no backend.
    """
    name = _forced or os.environ.get(VARIABLE)
    if name and name not in BACKENDS:
        raise ValueError(f"`{VARIABLE}` must be one of {', '.join(BACKENDS)}, got {name!r}")
    return name or None


@contextmanager
def force(backend: Optional[str]) -> Iterator[None]:
    """Force a backend within a `with` block, as `ELMO_PLUS_BACKEND` does for a process. None: choose by the table."""
    global _forced
    before, _forced = _forced, backend
    try:
        yield
    finally:
        _forced = before


def _is_float32_on_cpu(situation: Situation) -> bool:
    return situation.device == "cpu" and situation.dtype == torch.float32


def _has_few_threads(situation: Situation) -> bool:
    return situation.threads <= MAX_THREADS


# Steps are training steps of an LSTM of 512 cells, projected to 128, with two threads; a kernel's share was measured with and
# without the kernel, in turn.
TABLE: dict[str, dict[str, Backend]] = {
    # The kernel for all of the softmax took about 3% off a step on an AMD Zen 5. With several threads per direction, library
    # products are faster.
    "sampled_softmax": {
        "numba": Backend(
            lambda situation: _is_float32_on_cpu(situation) and bool(situation.sizes["has_one_dtype"]),
            lambda situation: situation.threads == 1,
        )
    },
    "exact_softmax": {},
    "conv_max_pool": {},
    # Convolution and maximum in one kernel: 3% of a step on an AMD Zen 5, no difference on an Intel Xeon.
    "conv_max_pool.gemm": {"numba": Backend(_is_float32_on_cpu, lambda situation: situation.threads == 1)},
    # The maximum after a library's product: 7.5% of a step on an Intel Xeon.
    "conv_max_pool.max": {"numba": Backend(_is_float32_on_cpu, _has_few_threads)},
    # 3.1% of a step on an Intel Xeon. The kernel's random numbers are of 32 bits, one for each value.
    "dropout": {
        "numba": Backend(
            lambda situation: _is_float32_on_cpu(situation) and situation.sizes["num_values"] <= 1 << 32,
            _has_few_threads,
        )
    },
    # 2.6% of a step on an AMD Zen 5, 1.9% on an Intel Xeon.
    "adagrad": {
        "numba": Backend(
            lambda situation: _is_float32_on_cpu(situation) and bool(situation.sizes["is_contiguous"]),
            _has_few_threads,
        )
    },
}


def loops_for(tensor: Tensor, module: str) -> Optional[ModuleType]:
    """The module of compiled loops `module` of this package, or None where they cannot compute or are not the faster way."""
    if tensor.dtype != torch.float32 or tensor.device.type != "cpu" or torch.get_num_threads() > MAX_THREADS:
        return None
    return _load(module)


def loops_for_any_type(tensor: Tensor, module: str) -> Optional[ModuleType]:
    """Return `loops_for` whatever the type of `tensor` and the number of threads: for loops that read bytes."""
    return _load(module) if tensor.device.type == "cpu" else None


@cache
def _load(module: str) -> Optional[ModuleType]:
    try:
        return import_module(f"allennlp_elmo_plus.kernels.{module}")
    except ImportError:
        return None
