"""Tensors as arrays for compiled kernels, whose memory a kernel reads and writes at the width of one type."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from allennlp_elmo_plus.errors import InputError


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
