"""
The element-wise part of an LSTM, step by step, on buffers that hold many steps.

Gates are (rows, 4C) with columns i, g, f, o. There are two ways to compute the same: compiled loops (`core.lstm_loops`), and
PyTorch's operations.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Optional

import numpy as np
import torch
from torch import Tensor

from .compiled import loops_for


def forward_step(
    gates: Tensor, cells: Tensor, outputs: Tensor, cell_clip: Optional[float]
) -> Callable[[int, int, int, int, int], None]:
    """
    A function of (gate_row, previous_row, cell_row, output_row, rows) that computes a step in place: `rows` rows of gates from
    `gate_row` on turn from pre-activations into activations, cells from `cell_row` on become clip(f * previous + i * g) with the
    previous ones from `previous_row` on, outputs from `output_row` on become o * tanh(cell).
    """
    loops = loops_for(gates, "lstm_loops")
    if loops is not None:
        clip = np.float32(math.inf if cell_clip is None else cell_clip)
        arrays = (tensor.detach().numpy() for tensor in (gates, cells, outputs))
        return partial(loops.gates_forward, *arrays, clip)
    size = cells.shape[1]

    def step(gate_row: int, previous_row: int, cell_row: int, output_row: int, rows: int) -> None:
        gate, cell = gates[gate_row : gate_row + rows], cells[cell_row : cell_row + rows]
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
    grad_outputs: Tensor,
    cell_clip: Optional[float],
) -> Callable[[int, int, int, int], None]:
    """
    A function of (gate_row, previous_row, cell_row, rows) that computes a step back: from the gates' activations, the cells and the
    first `rows` rows of grad_outputs (B, C), the gradient of the step's outputs, it fills the rows of grad_gates, the gradient of
    the pre-activations; the first `rows` rows of grad_cells (B, C) turn from the gradient of the step's cells into that of the
    previous ones. Where the clip was active, or a value is just at it, the gradient is 0.
    """
    loops = loops_for(gates, "lstm_loops")
    if loops is not None:
        clip = np.float32(math.inf if cell_clip is None else cell_clip)
        arrays = (tensor.detach().numpy() for tensor in (gates, cells, grad_gates, grad_cells, grad_outputs))
        return partial(loops.gates_backward, *arrays, clip)
    size = cells.shape[1]

    def step(gate_row: int, previous_row: int, cell_row: int, rows: int) -> None:
        i, g, f, o = gates[gate_row : gate_row + rows].split(size, dim=1)
        grad_i, grad_g, grad_f, grad_o = grad_gates[gate_row : gate_row + rows].split(size, dim=1)
        cell, previous = cells[cell_row : cell_row + rows], cells[previous_row : previous_row + rows]
        grad_cell, grad_output = grad_cells[:rows], grad_outputs[:rows]
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
