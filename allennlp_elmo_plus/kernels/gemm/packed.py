"""Matrix products of factors in bfloat16 whose results are in float32 and never rounded, by compiled kernels.

Inner dimensions and columns are multiples of 32 (`backend.is_packed_bfloat16`). Letters for shapes: K is the inner dimension, M the
number of columns.
"""

from collections.abc import Callable
from typing import Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.kernels.arrays import arrays, arrays_to_fill, halves, words

# Rows of two tiles, and of the pairs of rows that fill a tile.
ROW_MULTIPLE = 32


def multiply(left: Tensor, right: Tensor, bias: Optional[Tensor] = None) -> Tensor:
    """Return `left @ right + bias` in float32, (N, K) of any dtype by (K, M) of bfloat16, and (M,) of float32."""
    return prepare_multiply(right)(left, bias)


def prepare_multiply(right: Tensor) -> Callable[[Tensor, Optional[Tensor]], Tensor]:
    """Return `lambda left, bias: multiply(left, right, bias)`, with `right` packed once for all calls."""
    from allennlp_elmo_plus.kernels.gemm import _numba_kernels

    is_transposed = right.t().is_contiguous()
    panels = _numba_kernels.pack_transposed(words(right.t())) if is_transposed else _numba_kernels.pack(halves(right))
    num_columns = right.shape[1]

    def multiply_by_right(left: Tensor, bias: Optional[Tensor]) -> Tensor:
        factor = pad_rows(left)
        bias = torch.zeros(num_columns) if bias is None else bias
        product = torch.empty(len(factor), num_columns)
        _numba_kernels.multiply(words(factor), panels, *arrays(bias), *arrays_to_fill(product))
        return product[: len(left)]

    return multiply_by_right


def multiply_tn(left: Tensor, right: Tensor) -> Tensor:
    """Return `left.t() @ right` in float32, (N, K) and (N, M) of any dtype.

    A factor may have rows of zeros beyond N, up to the next multiple of `ROW_MULTIPLE`.
    """
    from allennlp_elmo_plus.kernels.gemm import _numba_kernels

    left_t = _numba_kernels.transpose_halves(halves(pad_rows(left)))
    panels = _numba_kernels.pack(halves(pad_rows(right)))
    product = torch.empty(left.shape[1], right.shape[1])
    _numba_kernels.multiply(left_t, panels, *arrays(torch.zeros(right.shape[1])), *arrays_to_fill(product))
    return product


def pad_rows(tensor: Tensor) -> Tensor:
    """Return `tensor` (N, K) in bfloat16, with rows of zeros up to a multiple of `ROW_MULTIPLE`."""
    if len(tensor) % ROW_MULTIPLE == 0:
        return tensor.to(torch.bfloat16)
    padded = tensor.new_zeros(round_up(len(tensor)), tensor.shape[1], dtype=torch.bfloat16)
    padded[: len(tensor)] = tensor
    return padded


def round_up(num_rows: int) -> int:
    """Return the next multiple of `ROW_MULTIPLE`."""
    return -(-num_rows // ROW_MULTIPLE) * ROW_MULTIPLE
