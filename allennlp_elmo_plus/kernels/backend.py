"""Loops compiled by numba for float32 on a CPU, where one pass over memory replaces many of PyTorch's operations.

Whoever has such loops keeps them in a module of their own, which imports numba, beside one that computes the same with PyTorch's
operations: for other types and devices, and for machines without numba.
"""

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Optional

import numpy as np
import torch
from torch import Tensor

from allennlp_elmo_plus.errors import InputError

# A compiled loop runs on one thread, and took a tenth to a half of the time of PyTorch's operations on one: with more threads
# than this they should be the faster.
MAX_THREADS = 4

# Fused multiply-add and reciprocals change the last bit; nothing may assume that values are finite, so that NaN stays NaN.
FAST_MATH = {"contract", "arcp", "nsz"}


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled at the first call, without Python's lock, and kept on disk wherever numba finds a directory that it may write."""
    import numba

    options: dict[str, Any] = {"nogil": True, "fastmath": FAST_MATH, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:
        return numba.njit(**options)(function)


def jit_inline(function: Callable[..., Any]) -> Callable[..., Any]:
    """For compiled loops to call, and become part of. What is only linked to them is optimized together with them where both are
    compiled, but not where one comes from disk: the last bits of a run would differ from those of the next.

    numba compiles a kept loop anew when its own file changes, not when the file of such a part does: whoever edits one must remove
    `*.nbi` and `*.nbc`.
    """
    import numba

    return numba.njit(inline="always", fastmath=FAST_MATH, error_model="numpy")(function)


def loops_for(tensor: Tensor, module: str) -> Optional[ModuleType]:
    """The module of compiled loops `module` of this package, or None where they cannot compute or are not the faster way."""
    if tensor.dtype != torch.float32 or tensor.device.type != "cpu" or torch.get_num_threads() > MAX_THREADS:
        return None
    return _load(module)


def loops_for_one_thread(tensor: Tensor, module: str) -> Optional[ModuleType]:
    """`loops_for` where there is one thread only: for loops that multiply, whose products a library would share between threads."""
    return loops_for(tensor, module) if torch.get_num_threads() == 1 else None


def loops_for_any_type(tensor: Tensor, module: str) -> Optional[ModuleType]:
    """Return `loops_for` whatever the type of `tensor` and the number of threads: for loops that read bytes."""
    return _load(module) if tensor.device.type == "cpu" else None


def arrays(*tensors: Tensor, dtype: torch.dtype = torch.float32) -> list[np.ndarray]:
    """Return the tensors as arrays for compiled loops to read. The values of a row are contiguous, as some loops read rows by address.

    Raises InputError for a floating-point tensor that is not of `dtype`: a loop would read its memory at the wrong width.
    """
    _check_types(tensors, dtype)
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def arrays_to_fill(*tensors: Tensor) -> list[np.ndarray]:
    """Return the tensors as arrays that share their memory, for compiled loops to write to.

    Raises InputError as `arrays` does, and ValueError for a tensor that is not contiguous: what a loop writes would be lost.
    """
    _check_types(tensors, torch.float32)
    for tensor in tensors:
        if not tensor.is_contiguous():
            raise ValueError(f"a tensor that a loop fills must be contiguous, got strides {tensor.stride()}")
    return [(tensor.detach() if tensor.requires_grad else tensor).numpy() for tensor in tensors]


def _check_types(tensors: Sequence[Tensor], dtype: torch.dtype) -> None:
    for tensor in tensors:
        if tensor.dtype is not dtype and tensor.is_floating_point():
            raise InputError(
                f"a compiled loop takes tensors of {dtype}, got one of {tensor.dtype}: convert a module whole, or not at all"
            )


@cache
def _load(module: str) -> Optional[ModuleType]:
    try:
        return import_module(f"allennlp_elmo_plus.kernels.{module}")
    except ImportError:
        return None
