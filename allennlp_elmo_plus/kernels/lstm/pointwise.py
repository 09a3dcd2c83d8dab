"""The element-wise part of an LSTM, step by step, on buffers that hold many steps.

Gates are (rows, 4C) with columns i, g, f, o. There are two ways to compute the same: compiled loops
(`kernels.lstm._numba_pointwise`), and
PyTorch's operations.
"""

import math
from collections.abc import Callable
from typing import Optional

import numpy as np
import torch
from torch import Tensor

from allennlp_elmo_plus.kernels.arrays import arrays, arrays_to_fill
from allennlp_elmo_plus.kernels.backend import loops_for


def forward_step(
    cells: Tensor, outputs: Tensor, cell_clip: Optional[float]
) -> Callable[[Tensor, Tensor, int, int, int, int], None]:
    """A function of (gates, recurrent, gate_row, previous_row, cell_row, output_row) that computes a step of B rows in place: gates
    from `gate_row` on turn from the inputs' part of the pre-activations, to which `recurrent` (B, 4C) adds the rest, into
    activations; cells from `cell_row` on become clip(f * previous + i * g) with the previous ones from `previous_row` on; outputs
    from `output_row` on become o * tanh(cell). `recurrent` is left as anything.
    """
    loops = loops_for(cells, "lstm._numba_pointwise")
    if loops is not None:
        clip = np.float32(math.inf if cell_clip is None else cell_clip)
        filled = arrays_to_fill(cells, outputs)

        def compiled_step(gates: Tensor, recurrent: Tensor, *rows: int) -> None:
            loops.gates_forward(*arrays_to_fill(gates, recurrent), *filled, clip, *rows)

        return compiled_step
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


def backward_step(
    gates: Tensor,
    cells: Tensor,
    grad_gates: Tensor,
    grad_cells: Tensor,
    cell_clip: Optional[float],
) -> Callable[[Tensor, int, int, int], None]:
    """A function of (grad_outputs, gate_row, previous_row, cell_row) that computes a step of B rows back: from the gates' activations,
    the cells and grad_outputs (B, C), the gradient of the step's outputs, it fills the rows of grad_gates, the gradient of the
    pre-activations; the first B rows of grad_cells turn from the gradient of the step's cells into that of the previous ones. Where
    the clip was active, or a value is just at it, the gradient is 0.
    """
    loops = loops_for(gates, "lstm._numba_pointwise")
    if loops is not None:
        clip = np.float32(math.inf if cell_clip is None else cell_clip)
        step_arrays = [*arrays(gates, cells), *arrays_to_fill(grad_gates, grad_cells)]

        def compiled_step(grad_outputs: Tensor, gate_row: int, *rows: int) -> None:
            loops.gates_backward(*arrays(grad_outputs), *step_arrays, clip, gate_row, *rows, gate_row)

        return compiled_step
    size = cells.shape[1]

    def step(grad_output: Tensor, gate_row: int, previous_row: int, cell_row: int) -> None:
        rows = len(grad_output)
        i, g, f, o = gates[gate_row : gate_row + rows].split(size, dim=1)
        grad_i, grad_g, grad_f, grad_o = grad_gates[gate_row : gate_row + rows].split(size, dim=1)
        cell, previous = cells[cell_row : cell_row + rows], cells[previous_row : previous_row + rows]
        grad_cell = grad_cells[:rows]
        tanh = cell.tanh()
        grad_cell.addcmul_(grad_output * o, 1 - tanh * tanh)
        if cell_clip is not None:
            grad_cell.masked_fill_(cell.abs() >= cell_clip, 0)
        torch.mul(grad_cell * g, i - i * i, out=grad_i)
        torch.mul(grad_cell * i, 1 - g * g, out=grad_g)
        torch.mul(grad_cell * previous, f - f * f, out=grad_f)
        torch.mul(grad_output * tanh, o - o * o, out=grad_o)
        grad_cell.mul_(f)

    return step
