"""The element-wise part of an LSTM step on a GPU, forward and backward, for all directions of a layer in one launch.

Tensors are (D directions, rows, size) and may be slices of packed buffers: only their columns must lie side by side. Gates are
(D, rows, 4 * cell_size) with columns i, g, f, o. What the matrix products read and write has their dtype, often bfloat16; cells,
their gradient and all arithmetic have the cells' dtype, float32 or above.
"""

from typing import Any, Optional

import triton  # type: ignore[import-untyped, import-not-found]
import triton.language as tl  # type: ignore[import-untyped, import-not-found]
from torch import Tensor

# Columns a program computes: with 4 warps, 8 a thread, one 16-byte load of bfloat16.
BLOCK = 1024


@triton.jit
def _row(pointer, direction_stride, row_stride):
    """Where the program's row starts. In 64 bits: a packed buffer may hold more values than 32 bits count."""
    return pointer + tl.program_id(2).to(tl.int64) * direction_stride + tl.program_id(0).to(tl.int64) * row_stride


@triton.jit
def _sigmoid(x):
    return 1 / (1 + tl.exp(-x))


@triton.jit
def _tanh(x):
    return 2 * _sigmoid(2 * x) - 1


@triton.jit
def _clamp(x, limit: tl.constexpr):
    """By comparison and not by minimum and maximum, which would turn a NaN into the limit and hide it."""
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
    """One program for each row of each direction and each block of `size` columns."""
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
    """Adds `bias` (D, 4 * cell_size), contiguous and in the cells' dtype, to the gates' pre-activations and fills the clipped cell
    and output = sigmoid(o) * tanh(cell), both (D, rows, cell_size). `cell` may be `previous_cell` itself. With `keep_activations`
    the activations, which the backward needs, replace the pre-activations.
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
    """One step back: from the activations and both cells, fills the gradient of the gates' pre-activations, and turns `grad_cell`
    from the gradient of the new cell into that of the previous one.

    tanh(cell) is computed anew rather than stored. A cell was clipped where it lies at the clip: cells are saved as they were
    computed, so this is exact, and no mask is needed.
    """
    tensors = [gates, previous_cell, cell, grad_output, grad_cell, grad_gates]
    _launch(_backward_kernel, tensors, cell.shape[2], cell_clip=cell_clip)


def clip_values(values: Tensor, clipped: Tensor, limit: float) -> None:
    """Clips `values` to [-limit, limit] in place and sets `clipped`, boolean, where they reached the limit: both (D, rows, size).

    What counts is the value that the matrix product has rounded to its dtype: one that only the rounding brought to the limit
    counts as clipped, as does any value exactly there. The mask is taken before clipping, since the limit itself, rounded to that
    dtype, may come out below the limit.
    """
    _launch(_clip_kernel, [values, clipped], values.shape[2], limit=limit)
