"""All steps of a direction, and the way back through them, as one compiled loop each, matrix products included.

Without Python between the steps, for whose lock two directions, each on its thread, wait; with weights arranged once for all steps;
and with what a product has just computed still in the processor's cache when its gates are.
"""

import numpy as np

from allennlp_elmo_plus.kernels.gemm._microkernel import MR, NR
from allennlp_elmo_plus.kernels.gemm._packing import (
    gemm_packed,
    gemm_tn_accumulate,
    pack_a,
    pack_b,
    pack_b_rows,
    pack_b_transposed,
    pack_panel,
)
from allennlp_elmo_plus.kernels.jit import jit, jit_inline
from allennlp_elmo_plus.kernels.lstm._numba_pointwise import activate, add_gates, inlined_gates_backward

F = np.float32

# Cells whose gates are computed together, right after their products.
CELLS = 8 * NR

# Rows from which on their part of the weights' gradients is computed, before more come: so many of a panel stay in a near cache.
ROWS = 512


@jit
def panels(matrix: np.ndarray) -> np.ndarray:
    """A factor as the loops below want it: see `kernels.gemm._packing.pack_b`."""
    return pack_b(matrix)


@jit
def panels_t(matrix_t: np.ndarray) -> np.ndarray:
    """`panels` of the matrix turned round."""
    return pack_b_transposed(matrix_t)


@jit
def gate_panels(weights: np.ndarray) -> np.ndarray:
    """Weights of gates (K, 4C) in panels such that those of `CELLS` cells, or of the last ones that are fewer, follow each other, for
    each gate as many.
    """
    size = weights.shape[1] // 4
    whole = -(-size // NR)
    found = np.empty((4 * whole, len(weights), NR), F)
    for g in range(4):
        for p in range(whole):
            columns = min(NR, size - p * NR)
            pack_panel(found[_panel(p, g, whole)], weights, g * size + p * NR, columns)
    return found


@jit_inline
def _panel(p: int, g: int, whole: int) -> int:
    """Where the p-th panel of gate g is."""
    width = CELLS // NR
    block = p // width
    return block * 4 * width + g * min(width, whole - block * width) + p % width


@jit
def forward_steps(
    steps: np.ndarray,
    inputs: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray,
    projection: np.ndarray,
    gates: np.ndarray,
    cells: np.ndarray,
    unprojected: np.ndarray,
    outputs: np.ndarray,
    final_cell: np.ndarray,
    cell_clip: F,
    proj_clip: F,
) -> None:
    """What `kernels.lstm.steps.step_by_step` describes. Weights come in panels: kernel (I + P, 4C) and, one row high, the bias in
    `gate_panels`, the projection in `panels`, without any where there is none. Where `inputs` has no columns, gates hold their part
    of the pre-activations, and the kernel (P, 4C) is the recurrent one.
    """
    size, whole, at_once = cells.shape[1], len(kernel) // 4, CELLS // NR
    input_size, output_size = inputs.shape[1], outputs.shape[1]
    zeros = np.zeros(len(projection) * NR, F)
    joined = np.empty((steps[0, 0], input_size + output_size), F)
    sums = np.empty((steps[0, 0], 4 * min(at_once, whole) * NR), F)
    projected = np.empty((steps[0, 0], len(projection) * NR), F)
    for t in range(len(steps)):
        rows, gate, hidden, previous, cell, unprojected_row, output, num_continuing = steps[t]
        for i in range(rows):
            if input_size > 0:
                joined[i, :input_size] = inputs[gate + i]
            joined[i, input_size:] = outputs[hidden + i]
        for p in range(0, whole, at_once):
            stop = min(p + at_once, whole)
            gemm_packed(joined[:rows], kernel[4 * p : 4 * stop], bias[4 * p * NR : 4 * stop * NR], sums)
            first, last, width = p * NR, min(stop * NR, size), (stop - p) * NR
            if input_size == 0:
                add_gates(sums, gates, gate, rows, first, last, size, width)
            activate(
                sums,
                gates,
                cells,
                unprojected,
                cell_clip,
                gate,
                previous,
                cell,
                unprojected_row,
                rows,
                first,
                last,
                width,
            )
        if len(projection) > 0:
            gemm_packed(unprojected[unprojected_row : unprojected_row + rows], projection, zeros, projected)
            for i in range(rows):
                for j in range(output_size):
                    value = projected[i, j]
                    value = proj_clip if value > proj_clip else value
                    outputs[output + i, j] = -proj_clip if value < -proj_clip else value
        final_cell[num_continuing:rows] = cells[cell + num_continuing : cell + rows]


@jit
def backward_steps(
    steps: np.ndarray,
    inputs: np.ndarray,
    gates: np.ndarray,
    cells: np.ndarray,
    unprojected: np.ndarray,
    outputs: np.ndarray,
    inputs_t: np.ndarray,
    recurrent_t: np.ndarray,
    projection_t: np.ndarray,
    grad_outputs: np.ndarray,
    grad_hidden: np.ndarray,
    grad_cell: np.ndarray,
    grad_gates: np.ndarray,
    grad_inputs: np.ndarray,
    grad_kernel: np.ndarray,
    grad_bias: np.ndarray,
    grad_projection: np.ndarray,
    cell_clip: F,
    proj_clip: F,
) -> None:
    """What `kernels.lstm.window.backward_window` describes. The weights turned round come in `panels`: inputs_t (4C, I), recurrent_t
    (4C, P), projection_t (P, C). What has no rows is not there or not wanted: weights and gradients. Where grad_gates has fewer
    rows than gates, each step overwrites those of the one before.
    """
    num_rows, output_size = grad_hidden.shape
    input_size = inputs.shape[1]
    zeros = np.zeros(max(gates.shape[1], len(inputs_t) * NR, len(recurrent_t) * NR, len(projection_t) * NR), F)
    grad_hidden_rows = np.empty((num_rows, len(recurrent_t) * NR), F)
    grad_hidden_rows[:, :output_size] = grad_hidden
    grad_unprojected = np.empty((num_rows, max(output_size, len(projection_t) * NR)), F)
    step_bias = np.empty_like(grad_bias)
    # Factors of the products over rows of some steps at a time.
    most_rows = min(len(gates), ROWS - 1 + num_rows)
    entering = np.empty((-(-input_size // MR), most_rows, MR), F)
    hidden_before = np.empty((-(-(len(grad_kernel) - input_size) // MR), most_rows, MR), F)
    grad_gate_panels = np.empty((grad_kernel.shape[1] // NR, most_rows, NR), F)
    leaving = np.empty((-(-len(grad_projection) // MR), most_rows, MR), F)
    grad_output_panels = np.empty((grad_projection.shape[1] // NR, most_rows, NR), F)
    found = 0
    for t in range(len(steps) - 1, -1, -1):
        rows, row, hidden, previous, cell, unprojected_row, output, _ = steps[t]
        for i in range(rows):
            for j in range(output_size):
                passes = F(1) if abs(outputs[output + i, j]) < proj_clip else F(0)
                grad_outputs[row + i, j] = (grad_outputs[row + i, j] + grad_hidden_rows[i, j]) * passes
        grad = grad_outputs[row : row + rows]
        if len(projection_t) > 0:
            gemm_packed(grad, projection_t, zeros, grad_unprojected)
        else:
            grad_unprojected[:rows, :output_size] = grad
        grad_row = row if len(grad_gates) == len(gates) else 0
        inlined_gates_backward(
            grad_unprojected[:rows], gates, cells, grad_gates, grad_cell, cell_clip, row, previous, cell, grad_row
        )
        grad_step = grad_gates[grad_row : grad_row + rows]
        step_bias[:] = F(0)
        for i in range(rows):
            for j in range(len(grad_bias)):
                step_bias[j] += grad_step[i, j]
        grad_bias += step_bias
        gemm_packed(grad_step, recurrent_t, zeros, grad_hidden_rows)
        if len(inputs_t) > 0:
            gemm_packed(grad_step, inputs_t, zeros, grad_inputs[row : row + rows])
        if len(grad_kernel) > 0:
            pack_a(inputs[row : row + rows], entering, found)
            pack_a(outputs[hidden : hidden + rows], hidden_before, found)
            pack_b_rows(grad_step, grad_gate_panels, found)
        if len(grad_projection) > 0:
            pack_a(unprojected[unprojected_row : unprojected_row + rows], leaving, found)
            pack_b_rows(grad, grad_output_panels, found)
        found += rows
        if found >= ROWS or t == 0:
            gemm_tn_accumulate(entering[:, :found], grad_gate_panels[:, :found], grad_kernel[:input_size])
            gemm_tn_accumulate(hidden_before[:, :found], grad_gate_panels[:, :found], grad_kernel[input_size:])
            gemm_tn_accumulate(leaving[:, :found], grad_output_panels[:, :found], grad_projection)
            found = 0
    grad_hidden[:] = grad_hidden_rows[:, :output_size]
