"""Tensors as arrays for compiled kernels, which read and write memory at the width of one dtype."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from allennlp_elmo_plus.errors import InputError


def arrays(*tensors: Tensor, dtype: torch.dtype = torch.float32) -> list[np.ndarray]:
    """Return the tensors as contiguous arrays for a kernel to read.

    Raises:
        InputError: A floating-point tensor is not of `dtype`, so the kernel would read its memory at the wrong width.
    """
    _check_types(tensors, dtype)
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def arrays_to_fill(*tensors: Tensor) -> list[np.ndarray]:
    """Return the tensors as arrays that share the tensors' memory, for a kernel to write to.

    Raises:
        InputError: A floating-point tensor is not of float32.
        ValueError: A tensor is not contiguous, so the kernel would write to a copy.
    """
    _check_types(tensors, torch.float32)
    for tensor in tensors:
        if not tensor.is_contiguous():
            raise ValueError(f"a tensor that a kernel fills must be contiguous, got strides {tensor.stride()}")
    return [(tensor.detach() if tensor.requires_grad else tensor).numpy() for tensor in tensors]


def words(tensor: Tensor) -> np.ndarray:
    """Return a bfloat16 tensor (..., K) as an array (..., K / 2) of uint32, two values each, which shares a contiguous tensor's memory."""
    return halves(tensor).view(np.uint32)


def halves(tensor: Tensor) -> np.ndarray:
    """Return the bits of a bfloat16 tensor as an array of uint16, which shares a contiguous tensor's memory."""
    return tensor.detach().contiguous().view(torch.int16).numpy().view(np.uint16)


def _check_types(tensors: Sequence[Tensor], dtype: torch.dtype) -> None:
    for tensor in tensors:
        if tensor.dtype is not dtype and tensor.is_floating_point():
            raise InputError(
                f"a compiled kernel takes tensors of {dtype}, got one of {tensor.dtype}: convert a module whole, or not at all"
            )
