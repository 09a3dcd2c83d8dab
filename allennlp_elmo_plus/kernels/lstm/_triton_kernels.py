"""The element-wise part of an LSTM step on a GPU, forward and backward, for all directions of a layer in one launch.

Tensors are (directions, rows, size) and may be slices of packed buffers: only their columns must be contiguous. Gates are
(directions, rows, 4C) with columns i, g, f, o. Operands and results of matrix products have the products' dtype, often bfloat16;
cells, their gradient and all arithmetic have the cells' dtype, float32 or wider.
"""

from typing import Any, Optional

import triton  # type: ignore[import-untyped, import-not-found]
import triton.language as tl  # type: ignore[import-untyped, import-not-found]
from torch import Tensor

# Columns per program: with 4 warps, 8 per thread, which is one 16-byte load of bfloat16.
BLOCK = 1024


@triton.jit
def _row(pointer, direction_stride, row_stride):
    """Return the start of the program's row, in 64 bits: a packed buffer may hold more than 2**32 values."""
    return pointer + tl.program_id(2).to(tl.int64) * direction_stride + tl.program_id(0).to(tl.int64) * row_stride


@triton.jit
def _sigmoid(x):
    return 1 / (1 + tl.exp(-x))


@triton.jit
def _tanh(x):
    return 2 * _sigmoid(2 * x) - 1


@triton.jit
def _clamp(x, limit: tl.constexpr):
    """Return x clipped to [-limit, limit]; NaN stays NaN, which minimum and maximum would replace by the limit."""
    return tl.where(x > limit, limit, tl.where(x < -limit, -limit, x))


@triton.jit
def _forward_kernel(
    gates, gates_direction, gates_row, previous_cell, previous_direction, previous_row,
    cell, cell_direction, cell_row, output, output_direction, output_row, bias, size,
    cell_clip: tl.constexpr, keep_activations: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    columns = tl.program_id(1) * block + tl.arange(0, block)
    inside = columns < size
    gates = _row(gates, gates_direction, gates_row) + columns
    bias = _row(bias, 4 * size, 0) + columns
    old_cell = tl.load(_row(previous_cell, previous_direction, previous_row) + columns, mask=inside)
    input_gate = tl.load(gates, mask=inside).to(old_cell.dtype) + tl.load(bias, mask=inside)
    candidate = tl.load(gates + size, mask=inside).to(old_cell.dtype) + tl.load(bias + size, mask=inside)
    forget_gate = tl.load(gates + 2 * size, mask=inside).to(old_cell.dtype) + tl.load(bias + 2 * size, mask=inside)
    output_gate = tl.load(gates + 3 * size, mask=inside).to(old_cell.dtype) + tl.load(bias + 3 * size, mask=inside)
    input_gate = _sigmoid(input_gate)
    candidate = _tanh(candidate)
    forget_gate = _sigmoid(forget_gate)
    output_gate = _sigmoid(output_gate)
    new_cell = forget_gate * old_cell + input_gate * candidate
    if cell_clip is not None:
        new_cell = _clamp(new_cell, cell_clip)
    tl.store(_row(cell, cell_direction, cell_row) + columns, new_cell, mask=inside)
    tl.store(_row(output, output_direction, output_row) + columns, output_gate * _tanh(new_cell), mask=inside)
    if keep_activations:
        tl.store(gates, input_gate, mask=inside)
        tl.store(gates + size, candidate, mask=inside)
        tl.store(gates + 2 * size, forget_gate, mask=inside)
        tl.store(gates + 3 * size, output_gate, mask=inside)


@triton.jit
def _backward_kernel(
    gates, gates_direction, gates_row, previous_cell, previous_direction, previous_row,
    cell, cell_direction, cell_row, grad_output, grad_output_direction, grad_output_row,
    grad_cell, grad_cell_direction, grad_cell_row, grad_gates, grad_gates_direction, grad_gates_row, size,
    cell_clip: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    columns = tl.program_id(1) * block + tl.arange(0, block)
    inside = columns < size
    gates = _row(gates, gates_direction, gates_row) + columns
    grad_gates = _row(grad_gates, grad_gates_direction, grad_gates_row) + columns
    grad_cell = _row(grad_cell, grad_cell_direction, grad_cell_row) + columns
    new_cell = tl.load(_row(cell, cell_direction, cell_row) + columns, mask=inside)
    old_cell = tl.load(_row(previous_cell, previous_direction, previous_row) + columns, mask=inside)
    input_gate = tl.load(gates, mask=inside).to(new_cell.dtype)
    candidate = tl.load(gates + size, mask=inside).to(new_cell.dtype)
    forget_gate = tl.load(gates + 2 * size, mask=inside).to(new_cell.dtype)
    output_gate = tl.load(gates + 3 * size, mask=inside).to(new_cell.dtype)
    upstream = tl.load(_row(grad_output, grad_output_direction, grad_output_row) + columns, mask=inside)
    upstream = upstream.to(new_cell.dtype)
    cell_tanh = _tanh(new_cell)
    grad = tl.load(grad_cell, mask=inside) + upstream * output_gate * (1 - cell_tanh * cell_tanh)
    if cell_clip is not None:
        grad = tl.where(tl.abs(new_cell) < cell_clip, grad, 0.0)
    tl.store(grad_gates, grad * candidate * input_gate * (1 - input_gate), mask=inside)
    tl.store(grad_gates + size, grad * input_gate * (1 - candidate * candidate), mask=inside)
    tl.store(grad_gates + 2 * size, grad * old_cell * forget_gate * (1 - forget_gate), mask=inside)
    tl.store(grad_gates + 3 * size, upstream * cell_tanh * output_gate * (1 - output_gate), mask=inside)
    tl.store(grad_cell, grad * forget_gate, mask=inside)


@triton.jit
def _clip_kernel(
    values, values_direction, values_row, clipped, clipped_direction, clipped_row, size,
    limit: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    columns = tl.program_id(1) * block + tl.arange(0, block)
    inside = columns < size
    values = _row(values, values_direction, values_row) + columns
    value = tl.load(values, mask=inside)
    value = value.to(tl.float64 if value.dtype == tl.float64 else tl.float32)
    tl.store(_row(clipped, clipped_direction, clipped_row) + columns, tl.abs(value) >= limit, mask=inside)
    tl.store(values, _clamp(value, limit), mask=inside)


def _launch(kernel: Any, tensors: list[Tensor], size: int, *arguments: Any, **constants: Any) -> None:
    """Launch one program for each row of each direction and each block of columns."""
    num_directions, num_rows, _ = tensors[0].shape
    strided = [value for tensor in tensors for value in (tensor, *tensor.stride()[:2])]
    grid = (num_rows, triton.cdiv(size, BLOCK), num_directions)
    kernel[grid](*strided, *arguments, size, **constants, block=BLOCK)


def gates_forward(
    gates: Tensor,
    bias: Tensor,
    previous_cell: Tensor,
    cell: Tensor,
    output: Tensor,
    cell_clip: Optional[float],
    keep_activations: bool,
) -> None:
    """Compute the cells and outputs of a step, both (directions, rows, C), from the gates' products.

    Args:
        gates: The products; with `keep_activations` they are replaced by the activations, which the backward pass reads.
        bias: (directions, 4C), contiguous, in the cells' dtype.
        previous_cell: The cells of the step before.
        cell: The new cells; may be `previous_cell`.
        output: The outputs, sigmoid(o) * tanh(cell).
        cell_clip: The bound of the cells; None for no bound.
        keep_activations: Whether a backward pass comes.
    """
    tensors = [gates, previous_cell, cell, output]
    _launch(_forward_kernel, tensors, cell.shape[2], bias, cell_clip=cell_clip, keep_activations=keep_activations)


def gates_backward(
    gates: Tensor,
    previous_cell: Tensor,
    cell: Tensor,
    grad_output: Tensor,
    grad_cell: Tensor,
    grad_gates: Tensor,
    cell_clip: Optional[float],
) -> None:
    """Compute the gradient of the gates' pre-activations, and replace the gradient of the new cell by that of the previous cell.

    tanh(cell) is computed again rather than stored. A cell was clipped where it equals the clip: cells are saved as they were
    computed, so this is exact, and no mask is needed.
    """
    tensors = [gates, previous_cell, cell, grad_output, grad_cell, grad_gates]
    _launch(_backward_kernel, tensors, cell.shape[2], cell_clip=cell_clip)


def clip_values(values: Tensor, clipped: Tensor, limit: float) -> None:
    """Clip `values` to [-limit, limit] in place, and set `clipped` (bool) where they reach the limit; (directions, rows, size) both.

    The rounded product counts: a value that only rounding brings to the limit is clipped, as is a value exactly at the limit. The mask
    is computed before the clip, because the limit itself, rounded to the values' dtype, may be below the limit.
    """
    _launch(_clip_kernel, [values, clipped], values.shape[2], limit=limit)
