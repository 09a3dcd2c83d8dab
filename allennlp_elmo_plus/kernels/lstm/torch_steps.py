"""The steps of one direction, forward and backward, each a few calls of PyTorch's operations.

The product with the inputs is one GEMM per block of steps, and each weight gradient is one GEMM over all steps. Only the recurrent
part runs inside the loop over time, on buffers that are allocated once. The element-wise part is `kernels.lstm._numba_gates` or
PyTorch's operations.
"""

import math
from collections.abc import Callable, Sequence
from typing import Optional

import numpy as np
import torch
from torch import Tensor

from allennlp_elmo_plus.kernels.arrays import arrays, arrays_to_fill
from allennlp_elmo_plus.kernels.gemm.linear import linear, prepare_linear
from allennlp_elmo_plus.kernels.lstm.window import Gradients, UpstreamGradients, Window, weight_gradients

# Computes the element-wise part of a step in place: (gates, recurrent, gate_row, previous_row, cell_row, output_row). The gates of
# the rows from `gate_row` on hold the product with the inputs. After `recurrent` (B, 4C) was added, they become activations; cells
# from `cell_row` on become clip(f * previous + i * g), where the previous cells begin at `previous_row`; outputs from `output_row`
# on become o * tanh(cell). `recurrent` is scratch space; its contents are undefined afterwards.
GatesForward = Callable[[Tensor, Tensor, int, int, int, int], None]

# Computes the gradient of that part: (grad_outputs, gate_row, previous_row, cell_row). From the activations, the cells and the
# gradient of the step's outputs (B, C), the gradient of the pre-activations is written; the gradient of the step's cells becomes
# that of the previous cells. It is 0 where a cell reaches the clip.
GatesBackward = Callable[[Tensor, int, int, int], None]


def forward_steps(window: Window, final_cell: Tensor, compiled_gates: bool) -> Tensor:
    """Return the activations of the last block's gates, (rows, 4C), after all steps of `window` have filled its buffers.

    Args:
        window: The window; the first B rows of its cells and outputs hold the state before the first step.
        final_cell: The cell of each row after its last step, (B, C): rows that end are written.
        compiled_gates: Whether a compiled kernel computes the element-wise part.
    """
    tensors, clips, (cells, unprojected, outputs) = window.tensors, window.clips, window.buffers
    make_gates = _compiled_gates_forward if compiled_gates else _gates_forward
    gates_forward = make_gates(cells, unprojected, clips.cell)
    times_recurrent = prepare_linear(tensors.recurrent_kernel, window.num_rows, cells.dtype)
    times_projection = None
    if tensors.projection is not None:
        times_projection = prepare_linear(tensors.projection, window.num_rows, cells.dtype)
    gates = cells.new_empty(0, len(tensors.bias))
    for inputs, block in window.blocks():
        gates = linear(inputs, tensors.input_kernel, tensors.bias)
        for at in block:
            recurrent = times_recurrent(outputs[at.hidden : at.hidden + at.rows])
            gates_forward(gates, recurrent, at.gates, at.previous_cells, at.cells, at.unprojected)
            if times_projection is not None:
                projected = times_projection(unprojected[at.unprojected : at.unprojected + at.rows])
                output = outputs[at.outputs : at.outputs + at.rows]
                if clips.projection is None:
                    output.copy_(projected)
                else:
                    torch.clamp(projected, -clips.projection, clips.projection, out=output)
            if at.num_continuing < at.rows:
                final_cell[at.num_continuing : at.rows] = cells[at.cells + at.num_continuing : at.cells + at.rows]
    return gates


def backward_steps(
    window: Window, gates: Tensor, upstream: UpstreamGradients, needs: Sequence[bool], compiled_gates: bool
) -> Gradients:
    """Return the gradients of the tensors of `window`, after its steps have run from the last to the first.

    Args:
        window: The window after its forward pass.
        gates: The activations of all gates, (N, 4C).
        upstream: The gradients of the results.
        needs: Whether each of the window's tensors needs a gradient.
        compiled_gates: Whether a compiled kernel computes the element-wise part.
    """
    tensors, clips, buffers = window.tensors, window.clips, window.buffers
    # A step adds to the gradient of its outputs what comes back through time.
    grad_outputs, grad_hidden, grad_cell = upstream.copy()
    grad_gates = torch.empty_like(gates)
    make_gates = _compiled_gates_backward if compiled_gates else _gates_backward
    gates_backward = make_gates(gates, buffers.cells, grad_gates, grad_cell, clips.cell)
    # Transposed in memory once: every step reads this matrix, up to twice as fast.
    times_recurrent_t = prepare_linear(tensors.recurrent_kernel.t().contiguous(), window.num_rows, gates.dtype)
    times_projection_t = None
    if tensors.projection is not None:
        times_projection_t = prepare_linear(tensors.projection.t(), window.num_rows, gates.dtype)
    for at in reversed(window.steps):
        grad = grad_outputs[at.gates : at.gates + at.rows].add_(grad_hidden[: at.rows])
        if clips.projection is not None:
            grad.mul_(buffers.outputs[at.outputs : at.outputs + at.rows].abs() < clips.projection)
        grad_unprojected = grad if times_projection_t is None else times_projection_t(grad)
        gates_backward(grad_unprojected, at.gates, at.previous_cells, at.cells)
        from_gates = times_recurrent_t(grad_gates[at.gates : at.gates + at.rows])
        if at.rows < window.num_rows:
            grad_hidden[: at.rows] = from_gates
        else:
            grad_hidden = from_gates
    needs_inputs, _, _, needs_kernel, needs_bias, needs_projection = needs
    grad_inputs, grad_kernel, grad_projection = weight_gradients(
        window, grad_gates, grad_outputs, (needs_inputs, needs_kernel, needs_projection)
    )
    grad_bias = grad_gates.sum(0) if needs_bias else None
    return grad_inputs, grad_hidden, grad_cell, grad_kernel, grad_bias, grad_projection


def clip_limit(clip: Optional[float]) -> np.float32:
    """Return `clip` for a compiled kernel, which has no None."""
    return np.float32(math.inf if clip is None else clip)


def _compiled_gates_forward(cells: Tensor, outputs: Tensor, cell_clip: Optional[float]) -> GatesForward:
    from allennlp_elmo_plus.kernels.lstm import _numba_gates

    limit, buffers = clip_limit(cell_clip), arrays_to_fill(cells, outputs)

    def step(gates: Tensor, recurrent: Tensor, *rows: int) -> None:
        _numba_gates.gates_forward(*arrays_to_fill(gates, recurrent), *buffers, limit, *rows)

    return step


def _compiled_gates_backward(
    gates: Tensor, cells: Tensor, grad_gates: Tensor, grad_cells: Tensor, cell_clip: Optional[float]
) -> GatesBackward:
    from allennlp_elmo_plus.kernels.lstm import _numba_gates

    limit, buffers = clip_limit(cell_clip), [*arrays(gates, cells), *arrays_to_fill(grad_gates, grad_cells)]

    def step(grad_outputs: Tensor, gate_row: int, *rows: int) -> None:
        _numba_gates.gates_backward(*arrays(grad_outputs), *buffers, limit, gate_row, *rows, gate_row)

    return step


def _gates_forward(cells: Tensor, outputs: Tensor, cell_clip: Optional[float]) -> GatesForward:
    size = cells.shape[1]

    def step(
        gates: Tensor, recurrent: Tensor, gate_row: int, previous_row: int, cell_row: int, output_row: int
    ) -> None:
        rows = len(recurrent)
        gate, cell = gates[gate_row : gate_row + rows].add_(recurrent), cells[cell_row : cell_row + rows]
        output = outputs[output_row : output_row + rows]
        gate[:, :size].sigmoid_()
        gate[:, size : 2 * size].tanh_()
        gate[:, 2 * size :].sigmoid_()
        torch.mul(gate[:, 2 * size : 3 * size], cells[previous_row : previous_row + rows], out=cell)
        cell.addcmul_(gate[:, :size], gate[:, size : 2 * size])
        if cell_clip is not None:
            cell.clamp_(-cell_clip, cell_clip)
        torch.tanh(cell, out=output)
        output.mul_(gate[:, 3 * size :])

    return step


def _gates_backward(
    gates: Tensor, cells: Tensor, grad_gates: Tensor, grad_cells: Tensor, cell_clip: Optional[float]
) -> GatesBackward:
    size = cells.shape[1]

    def step(grad_outputs: Tensor, gate_row: int, previous_row: int, cell_row: int) -> None:
        rows = len(grad_outputs)
        i, g, f, o = gates[gate_row : gate_row + rows].split(size, dim=1)
        grad_i, grad_g, grad_f, grad_o = grad_gates[gate_row : gate_row + rows].split(size, dim=1)
        cell, previous = cells[cell_row : cell_row + rows], cells[previous_row : previous_row + rows]
        grad_cell = grad_cells[:rows]
        tanh = cell.tanh()
        grad_cell.addcmul_(grad_outputs * o, 1 - tanh * tanh)
        if cell_clip is not None:
            grad_cell.masked_fill_(cell.abs() >= cell_clip, 0)
        torch.mul(grad_cell * g, i - i * i, out=grad_i)
        torch.mul(grad_cell * i, 1 - g * g, out=grad_g)
        torch.mul(grad_cell * previous, f - f * f, out=grad_f)
        torch.mul(grad_outputs * tanh, o - o * o, out=grad_o)
        grad_cell.mul_(f)

    return step
