"""Which implementation of an operation computes: the one table of all thresholds.

An operation has a definition in plain PyTorch (`reference`) and some faster implementations, its backends:

| Backend | Computes |
|---|---|
| `triton` | on a GPU |
| `numba` | on a CPU, in float32; products also in bfloat16, where the processor has instructions for them |
| `onednn` | on a CPU: matrix products by oneDNN, which comes with PyTorch |
| `torch` | anywhere, with PyTorch's operations |
| `reference` | anywhere; slow, to read and to test against |

`run` takes the first backend of this list that can compute and is faster than those below it, by `TABLE`. Sizes and settings
decide, never a measurement at run time: the same training must give the same bits. `ELMO_PLUS_BACKEND=torch` forces a backend, for
reports of errors and for tests: those above it are not used, and it is used wherever it can compute.

A backend whose kernel fails to import or to compile is logged once, and the next one computes.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import NamedTuple, Optional, TypeVar

import torch
from torch import Tensor

from allennlp_elmo_plus.errors import InputError, one_line_message
from allennlp_elmo_plus.kernels.jit import KernelUnavailableError
from allennlp_elmo_plus.kernels.processor import instruction_sets

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

VARIABLE = "ELMO_PLUS_BACKEND"
# A compiled kernel runs on one thread, and took a tenth to a half of the time of PyTorch's operations on one: with more threads
# than this they should be the faster.
MAX_THREADS = 4

BACKENDS = ("triton", "numba", "onednn", "torch", "reference")


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
_failed: set[tuple[str, str, torch.dtype]] = set()
# Both directions may find the same kernel unavailable at once.
_lock = Lock()


def run(operation: str, like: Tensor, implementations: Mapping[str, Callable[[], Result]], **sizes: int) -> Result:
    """Return the result of the implementation that is the fastest here.

    Args:
        operation: A key of `TABLE`.
        like: A tensor of the device and dtype that the operation computes with.
        implementations: A function without arguments for each backend that the operation has. An implementation that raises
            `KernelUnavailableError` has changed nothing that the next one reads.
        sizes: The sizes that the operation's rules in `TABLE` read.
    """
    backends = [backend for backend in candidates(operation, like, **sizes) if backend in implementations]
    # An operation that has no implementation as low as the forced one is computed by its lowest.
    *others, last = backends or [max(implementations, key=BACKENDS.index)]
    for backend in others:
        try:
            return implementations[backend]()
        except (ImportError, KernelUnavailableError) as error:
            failure = operation, backend, like.dtype
            with _lock:
                is_known = failure in _failed
                _failed.add(failure)
            if not is_known:
                logger.warning(
                    "`%s` cannot be computed by %s, the next backend computes it: %s",
                    operation,
                    backend,
                    one_line_message(error),
                )
    return implementations[last]()


def choose(operation: str, like: Tensor, **sizes: int) -> str:
    """Return the backend that is the fastest here, for operations whose backends cannot fail to compile."""
    return next(candidates(operation, like, **sizes))


def candidates(operation: str, like: Tensor, **sizes: int) -> Iterator[str]:
    """Yield the backends that can compute `operation`, in the order in which they are tried."""
    forced = forced_backend()
    situation = Situation(like.device.type, like.dtype, torch.get_num_threads(), sizes)
    first = BACKENDS.index(forced) if forced else 0
    rules = TABLE[operation]
    for backend in BACKENDS[first:]:
        if (operation, backend, like.dtype) in _failed:
            continue
        rule = rules.get(backend)
        if rule is None:
            # Plain PyTorch needs no rule.
            if backend in ("torch", "reference"):
                yield backend
        elif rule.can(situation) and (backend == forced or rule.is_faster(situation)):
            yield backend


def forced_backend() -> Optional[str]:
    """Return the backend that `ELMO_PLUS_BACKEND` or `force` names, or None.

    Raises:
        InputError: The variable names no backend.
    """
    name = _forced or os.environ.get(VARIABLE)
    if name and name not in BACKENDS:
        raise InputError(f"`{VARIABLE}` must be one of {', '.join(BACKENDS)}, got {name!r}")
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


def is_packed_bfloat16(dtype: torch.dtype, *inner_sizes: int) -> bool:
    """Return whether compiled kernels can multiply factors of `dtype` in bfloat16 by this processor's instructions.

    Args:
        dtype: The products' dtype.
        inner_sizes: The inner dimensions of the products, which must be multiples of 32.
    """
    return dtype == torch.bfloat16 and not any(size % 32 for size in inner_sizes) and "avx512bf16" in instruction_sets()


def _always(situation: Situation) -> bool:
    return True


def _is_on_cpu(situation: Situation) -> bool:
    return situation.device == "cpu"


def _is_float32_on_cpu(situation: Situation) -> bool:
    return situation.device == "cpu" and situation.dtype == torch.float32


def _has_few_threads(situation: Situation) -> bool:
    return situation.threads <= MAX_THREADS


# Values of an LSTM's kernel up to which the compiled loop over time takes less time: on any number of threads, of which it uses one;
# and on one thread whatever the window, for a processor's caches hold them from step to step.
SMALL_KERNEL = 1 << 19
CACHED_KERNEL = 1 << 22
# Larger ones on one thread: rows of a step that make up for reading the weights, and steps for packing them. Otherwise libraries,
# which multiply by the weights as they are stored, take less time.
MIN_ROWS = 4
MIN_STEPS = 4


def _compiled_products_can(situation: Situation) -> bool:
    """Return whether a kernel with matrix products of its own can compute: in float32, or its products in bfloat16."""
    return _is_float32_on_cpu(situation) and bool(
        situation.sizes["has_one_dtype"] or situation.sizes["is_packed_bfloat16"]
    )


def _lstm_loop_is_faster(situation: Situation) -> bool:
    sizes = situation.sizes
    if not _has_few_threads(situation):
        return False
    if sizes["kernel_values"] <= (CACHED_KERNEL if situation.threads == 1 else SMALL_KERNEL):
        return True
    is_long = sizes["rows"] >= MIN_ROWS and sizes["tokens"] >= MIN_STEPS * sizes["rows"]
    return situation.threads == 1 and is_long


# Multiply-adds from which on a product gains more than the call into oneDNN costs.
MIN_MULTIPLY_ADDS = 1 << 21
# Rows of a product from which on it makes up for packing the other factor. On one thread of an Intel Xeon with AMX the kernel takes 0.84 of
# oneDNN's time for 32 rows and a factor of 512 x 512, but 1.25 for one of 2,048 x 2,048; for 256 rows 0.81 and 1.04, for 512 0.83 and 0.90.
MIN_PACKED_ROWS = 256


def _packed_product_is_faster(situation: Situation) -> bool:
    has_rows = situation.sizes["rows"] >= MIN_PACKED_ROWS
    return has_rows and situation.threads == 1 and "amx-bf16" in instruction_sets()


# Steps are training steps of an LSTM of 512 cells, projected to 128, with two threads; a kernel's share was measured with and
# without the kernel, in turn.
TABLE: dict[str, dict[str, Backend]] = {
    # All of the softmax in one kernel: 3% of a step on three AMD processors, no difference on an Intel Xeon. With several threads per
    # direction, library products are faster.
    "sampled_softmax": {"numba": Backend(_compiled_products_can, lambda situation: situation.threads == 1)},
    # A row of logits read once and written once, where PyTorch's operations read or write it ten times. Not measured on a GPU yet. Wider
    # rows than this do not fit the registers of 16 warps.
    "sampled_softmax.logits": {
        "triton": Backend(
            lambda situation: situation.device == "cuda", lambda situation: situation.sizes["num_samples"] <= 1 << 15
        )
    },
    "exact_softmax": {},
    "conv_max_pool": {},
    # Convolution and maximum in one kernel: 3% of a step on an AMD Zen 5, no difference on an Intel Xeon and an AMD Zen 3. On an AMD EPYC
    # 4 to 5% of a step together with Adagrad's kernel.
    "conv_max_pool.gemm": {"numba": Backend(_is_float32_on_cpu, lambda situation: situation.threads == 1)},
    # The maximum after a library's product: 2 to 3% of a step on an AMD EPYC, 7.5% on an Intel Xeon.
    "conv_max_pool.max": {"numba": Backend(_is_float32_on_cpu, _has_few_threads)},
    # One launch for the element-wise part of a step of both directions. Not measured on a GPU yet.
    "lstm": {"triton": Backend(lambda situation: situation.device == "cuda", _always)},
    # All time steps in one compiled loop, products included: 17% of a step on an AMD EPYC, 9% on an Intel Xeon. In bfloat16 by AMX a
    # layer takes 2.9 ms forward and 4.3 ms backward, in float32 6.9 and 12.2 ms, on one thread.
    "lstm.loop": {
        "numba": Backend(
            lambda situation: _compiled_products_can(situation) and situation.sizes["tokens"] > 0, _lstm_loop_is_faster
        )
    },
    # The element-wise part of a time step. Without this kernel and the loop a step takes a third longer on both.
    "lstm.gates": {"numba": Backend(_is_float32_on_cpu, _has_few_threads)},
    # 3.1% of a step on an Intel Xeon, 2 to 3% on an AMD EPYC. The kernel's random numbers are of 32 bits, one for each value.
    "dropout": {
        "numba": Backend(
            lambda situation: _is_float32_on_cpu(situation) and situation.sizes["num_values"] <= 1 << 32,
            _has_few_threads,
        )
    },
    # 2.6% of a step on an AMD Zen 5, 2% on an AMD EPYC, 1.9% on an Intel Xeon. PyTorch's fused operation is as fast alone, but it wakes
    # OpenMP's threads: the step is then 2% longer.
    "adagrad": {
        "numba": Backend(
            lambda situation: _is_float32_on_cpu(situation) and bool(situation.sizes["is_contiguous"]),
            _has_few_threads,
        )
    },
    # The kernel reads bytes: 2.3 ms for 35 MB of weights.
    "fingerprint": {"numba": Backend(_is_on_cpu, _always)},
    # Half the time of MKL's products on an AMD processor; MKL is the faster library on an Intel one.
    "gemm": {
        "onednn": Backend(
            lambda situation: _is_float32_on_cpu(situation) and bool(situation.sizes["onednn_takes_rows"]),
            lambda situation: (
                bool(situation.sizes["mkl_is_slow"]) and situation.sizes["multiply_adds"] >= MIN_MULTIPLY_ADDS
            ),
        )
    },
    # Products of bfloat16 with results in float32, by AMX. On one thread of an Intel Xeon, forward and backward: 2.7 instead of 3.1 ms
    # for (960, 512) by (512, 512), 40 instead of 47 ms for (1024, 2048) by (2048, 2048).
    "gemm.bfloat16": {
        "numba": Backend(
            lambda situation: (
                situation.device == "cpu"
                and situation.dtype == torch.bfloat16
                and bool(situation.sizes["is_packed_bfloat16"])
            ),
            _packed_product_is_faster,
        )
    },
}
