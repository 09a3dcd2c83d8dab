"""The element-wise part of an LSTM step on a CPU, forward and backward.

One pass over memory and one call, where PyTorch needs ten: for a small LSTM, calling PyTorch's operations takes longer than
computing them.
"""

import numpy as np

from allennlp_elmo_plus.kernels._elementwise import sigmoid, tanh
from allennlp_elmo_plus.kernels.jit import jit, jit_inline

F = np.float32


@jit_inline
def add_gates(
    sums: np.ndarray, gates: np.ndarray, gate_row: int, rows: int, first: int, last: int, size: int, width: int
) -> None:
    """Add the gates (rows, 4 * size) of the cells from `first` to before `last` to `sums`, which has `width` columns per gate."""
    for row in range(rows):
        for g in range(4):
            gate, total = gates[gate_row + row, g * size + first : g * size + last], sums[row, g * width :]
            for j in range(last - first):
                total[j] += gate[j]


@jit_inline
def activate(
    sums: np.ndarray,
    gates: np.ndarray,
    cells: np.ndarray,
    outputs: np.ndarray,
    clip: F,
    gate_row: int,
    previous_row: int,
    cell_row: int,
    output_row: int,
    rows: int,
    first: int,
    last: int,
    width: int,
) -> None:
    """Compute a step of the cells from `first` to before `last` from their pre-activations `sums`, which has `width` columns per gate.

    Gates become activations, cells become clip(f * previous + i * g), outputs become o * tanh(cell), each in the `rows` rows that
    begin at its own row.
    """
    size = cells.shape[1]
    for row in range(rows):
        i_sum, g_sum, f_sum, o_sum = sums[row], sums[row, width:], sums[row, 2 * width :], sums[row, 3 * width :]
        gate = gates[gate_row + row, first:]
        i_gate, g_gate, f_gate, o_gate = gate, gate[size:], gate[2 * size :], gate[3 * size :]
        previous, cell = cells[previous_row + row, first:], cells[cell_row + row, first:]
        output = outputs[output_row + row, first:]
        for j in range(last - first):
            i, g, f, o = sigmoid(i_sum[j]), tanh(g_sum[j]), sigmoid(f_sum[j]), sigmoid(o_sum[j])
            c = f * previous[j] + i * g
            c = clip if c > clip else c
            c = -clip if c < -clip else c
            i_gate[j], g_gate[j], f_gate[j], o_gate[j] = i, g, f, o
            cell[j] = c
            output[j] = o * tanh(c)


@jit
def gates_forward(
    gates: np.ndarray,
    recurrent: np.ndarray,
    cells: np.ndarray,
    outputs: np.ndarray,
    clip: F,
    gate_row: int,
    previous_row: int,
    cell_row: int,
    output_row: int,
) -> None:
    """Do what `kernels.lstm.torch_steps.GatesForward` describes."""
    rows, size = len(recurrent), cells.shape[1]
    add_gates(recurrent, gates, gate_row, rows, 0, size, size, size)
    activate(recurrent, gates, cells, outputs, clip, gate_row, previous_row, cell_row, output_row, rows, 0, size, size)


def _gates_backward(
    grad_outputs: np.ndarray,
    gates: np.ndarray,
    cells: np.ndarray,
    grad_gates: np.ndarray,
    grad_cells: np.ndarray,
    clip: F,
    gate_row: int,
    previous_row: int,
    cell_row: int,
    grad_row: int,
) -> None:
    """Do what `kernels.lstm.torch_steps.GatesBackward` describes; the gradient of the gates is written from `grad_row` on."""
    size = cells.shape[1]
    for row in range(len(grad_outputs)):
        gate, grad_gate = gates[gate_row + row], grad_gates[grad_row + row]
        i_gate, g_gate, f_gate, o_gate = gate, gate[size:], gate[2 * size :], gate[3 * size :]
        grad_i, grad_g, grad_f, grad_o = grad_gate, grad_gate[size:], grad_gate[2 * size :], grad_gate[3 * size :]
        previous, cell = cells[previous_row + row], cells[cell_row + row]
        grad_cell, grad_output = grad_cells[row], grad_outputs[row]
        for j in range(size):
            i, g, f, o = i_gate[j], g_gate[j], f_gate[j], o_gate[j]
            c, dh = cell[j], grad_output[j]
            t = tanh(c)
            dc = grad_cell[j] + dh * o * (F(1) - t * t)
            dc = F(0) if abs(c) >= clip else dc
            grad_i[j] = dc * g * i * (F(1) - i)
            grad_g[j] = dc * i * (F(1) - g * g)
            grad_f[j] = dc * previous[j] * f * (F(1) - f)
            grad_o[j] = dh * t * o * (F(1) - o)
            grad_cell[j] = dc * f


# For one step alone, and as a part of the loop over all steps.
gates_backward, gates_backward_inline = jit(_gates_backward), jit_inline(_gates_backward)
