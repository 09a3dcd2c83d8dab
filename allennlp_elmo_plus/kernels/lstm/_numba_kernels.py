"""All time steps of one direction, forward and backward, as one compiled loop each, matrix products included.

There is no Python between the steps, so two directions on two threads do not wait for Python's lock; weights are packed once for
all steps; and gates are still in the processor's cache when the element-wise part reads them.

Packed weights in float32 or in bfloat16, as words (`kernels.gemm._bfloat16`), decide the type of the factors.
"""

import numpy as np

from allennlp_elmo_plus.kernels._elementwise import copy_vector
from allennlp_elmo_plus.kernels.gemm._bfloat16 import TILE_ROWS
from allennlp_elmo_plus.kernels.gemm._microkernel import MR, NR
from allennlp_elmo_plus.kernels.gemm._packing import (
    as_factor,
    fill_factor,
    gemm_packed,
    gemm_tn_accumulate,
    new_panels,
    pack_a,
    pack_b_rows,
    pack_panel,
)
from allennlp_elmo_plus.kernels.jit import jit, jit_inline
from allennlp_elmo_plus.kernels.lstm._numba_gates import activate, add_gates, gates_backward_inline

F = np.float32

# Cells whose gates are computed together: the element-wise part follows the product while its result is in the cache.
BLOCK_CELLS = 8 * NR

# Rows over which a weight gradient is summed at a time: as many rows of a panel as fit the nearest caches.
BLOCK_ROWS = 512


@jit
def pack_gates(weights: np.ndarray) -> np.ndarray:
    """Return weights of gates (K, 4C) packed such that the panels of `BLOCK_CELLS` cells, of all four gates, are contiguous."""
    size = weights.shape[1] // 4
    num_panels = -(-size // NR)
    packed = new_panels(weights, 4 * num_panels)
    for g in range(4):
        for p in range(num_panels):
            columns = min(NR, size - p * NR)
            pack_panel(packed[_panel_of_gate(p, g, num_panels)], weights, g * size + p * NR, columns)
    return packed


@jit_inline
def _whole_tiles(rows: int) -> int:
    return -(-rows // TILE_ROWS) * TILE_ROWS


@jit_inline
def _panel_of_gate(p: int, g: int, num_panels: int) -> int:
    """Return the index of the p-th of `num_panels` panels of gate g."""
    width = BLOCK_CELLS // NR
    block = p // width
    return block * 4 * width + g * min(width, num_panels - block * width) + p % width


@jit
def forward_steps(
    steps: np.ndarray,  # IN: (T, 8) int64, see `kernels.lstm.window.Step`
    inputs: np.ndarray,  # IN: factor (N, I) of all steps; without columns where `gates` holds the product with the inputs
    kernel: np.ndarray,  # IN: packed gates (I + P, 4C); without the inputs' rows where `inputs` has no columns
    bias: np.ndarray,  # IN: packed gates, one row
    projection: np.ndarray,  # IN: packed (C, P); no panels where there is no projection
    gates: np.ndarray,  # IN and OUT: (rows, 4C), activations
    cells: np.ndarray,  # IN and OUT: (B + N, C)
    unprojected: np.ndarray,  # OUT: (N, C)
    outputs: np.ndarray,  # IN and OUT: (B + N, P)
    final_cell: np.ndarray,  # OUT: (B, C), the rows that end
    cell_clip: F,
    proj_clip: F,
) -> None:
    """Run the steps in order."""
    size, num_panels, block_panels = cells.shape[1], len(kernel) // 4, BLOCK_CELLS // NR
    input_size, output_size = inputs.shape[1], outputs.shape[1]
    max_rows = _whole_tiles(steps[0, 0])
    first_output = steps[0, 6]
    zeros = np.zeros(len(projection) * NR, F)
    left = np.empty((max_rows, kernel.shape[1]), kernel.dtype)
    sums = np.empty((max_rows, 4 * min(block_panels, num_panels) * NR), F)
    unprojected_factor = np.empty((max_rows, projection.shape[1]), projection.dtype)
    projected = np.empty((max_rows, len(projection) * NR), F)
    for t in range(len(steps)):
        rows, gate, hidden, previous, cell, unprojected_row, output, num_continuing = steps[t]
        for i in range(rows):
            if input_size > 0:
                copy_vector(left[i], inputs[output - first_output + i])
        fill_factor(left[:, input_size:], outputs[hidden : hidden + rows])
        for p in range(0, num_panels, block_panels):
            stop = min(p + block_panels, num_panels)
            gemm_packed(left[:rows], kernel[4 * p : 4 * stop], bias[4 * p * NR : 4 * stop * NR], sums)
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
            factor = as_factor(unprojected_factor, unprojected[unprojected_row : unprojected_row + rows])
            gemm_packed(factor, projection, zeros, projected)
            for i in range(rows):
                for j in range(output_size):
                    value = projected[i, j]
                    value = proj_clip if value > proj_clip else value
                    outputs[output + i, j] = -proj_clip if value < -proj_clip else value
        for i in range(num_continuing, rows):
            copy_vector(final_cell[i], cells[cell + i])


@jit
def backward_steps(
    steps: np.ndarray,  # IN: (T, 8) int64, see `kernels.lstm.window.Step`
    inputs: np.ndarray,  # IN: (N, I); without columns where the kernel's gradient is not computed
    gates: np.ndarray,  # IN: (N, 4C), activations
    cells: np.ndarray,  # IN: (B + N, C)
    unprojected: np.ndarray,  # IN: (N, C)
    outputs: np.ndarray,  # IN: (B + N, P)
    inputs_t: np.ndarray,  # IN: packed (4C, I); no panels where the inputs' gradient is not computed, as with words
    recurrent_t: np.ndarray,  # IN: packed (4C, P)
    projection_t: np.ndarray,  # IN: packed (P, C); no panels where there is no projection
    grad_outputs: np.ndarray,  # IN and OUT: (N, P); before the clip at the end
    grad_hidden: np.ndarray,  # IN and OUT: (B, P) after the last step; before the first step at the end
    grad_cell: np.ndarray,  # IN and OUT: (B, C), likewise
    grad_gates: np.ndarray,  # OUT: (N, 4C) pre-activations; or (B, 4C), which every step overwrites
    grad_factors: np.ndarray,  # OUT: with words, `grad_gates` of all steps as factors, (N, 4C), and memory for whole tiles
    grad_inputs: np.ndarray,  # OUT: (N, I); empty where not computed, as are the following
    grad_kernel: np.ndarray,  # OUT: (I + P, 4C), zeros before
    grad_bias: np.ndarray,  # OUT: (4C,), zeros before
    grad_projection: np.ndarray,  # OUT: (C, P), zeros before
    cell_clip: F,
    proj_clip: F,
) -> None:
    """Run the steps from the last to the first."""
    num_rows, output_size = grad_hidden.shape
    input_size = inputs.shape[1]
    zeros = np.zeros(max(gates.shape[1], len(inputs_t) * NR, len(recurrent_t) * NR, len(projection_t) * NR), F)
    max_rows = _whole_tiles(num_rows)
    grad_previous = np.empty((max_rows, len(recurrent_t) * NR), F)
    grad_unprojected = np.empty((max_rows, max(output_size, len(projection_t) * NR)), F)
    grad_outputs_factor = np.empty((max_rows, projection_t.shape[1]), projection_t.dtype)
    step_bias = np.empty_like(grad_bias)
    # Factors of the weight gradients, packed over the rows of several steps.
    block_rows = min(len(gates), BLOCK_ROWS - 1 + num_rows)
    inputs_packed = np.empty((-(-input_size // MR), block_rows, MR), F)
    hidden_packed = np.empty((-(-(len(grad_kernel) - input_size) // MR), block_rows, MR), F)
    grad_gates_packed = np.empty((grad_kernel.shape[1] // NR, block_rows, NR), F)
    unprojected_packed = np.empty((-(-len(grad_projection) // MR), block_rows, MR), F)
    grad_outputs_packed = np.empty((grad_projection.shape[1] // NR, block_rows, NR), F)
    num_packed = 0
    for t in range(len(steps) - 1, -1, -1):
        rows, row, hidden, previous, cell, unprojected_row, output, _ = steps[t]
        for i in range(rows):
            for j in range(output_size):
                passes = F(1) if abs(outputs[output + i, j]) < proj_clip else F(0)
                grad_outputs[row + i, j] = (grad_outputs[row + i, j] + grad_hidden[i, j]) * passes
        grad = grad_outputs[row : row + rows]
        if len(projection_t) > 0:
            gemm_packed(as_factor(grad_outputs_factor, grad), projection_t, zeros, grad_unprojected)
        else:
            for i in range(rows):
                copy_vector(grad_unprojected[i], grad[i])
        grad_row = row if len(grad_gates) == len(gates) else 0
        gates_backward_inline(
            grad_unprojected[:rows], gates, cells, grad_gates, grad_cell, cell_clip, row, previous, cell, grad_row
        )
        grad_step = grad_gates[grad_row : grad_row + rows]
        step_bias[:] = F(0)
        for i in range(rows):
            for j in range(len(grad_bias)):
                step_bias[j] += grad_step[i, j]
        for j in range(len(grad_bias)):
            grad_bias[j] += step_bias[j]
        factor = as_factor(grad_factors[row:], grad_step)
        gemm_packed(factor, recurrent_t, zeros, grad_previous)
        for i in range(rows):
            copy_vector(grad_hidden[i], grad_previous[i, :output_size])
        if len(inputs_t) > 0:
            gemm_packed(factor, inputs_t, zeros, grad_inputs[row : row + rows])
        if len(grad_kernel) > 0:
            pack_a(inputs[row : row + rows], inputs_packed, num_packed)
            pack_a(outputs[hidden : hidden + rows], hidden_packed, num_packed)
            pack_b_rows(grad_step, grad_gates_packed, num_packed)
        if len(grad_projection) > 0:
            pack_a(unprojected[unprojected_row : unprojected_row + rows], unprojected_packed, num_packed)
            pack_b_rows(grad, grad_outputs_packed, num_packed)
        num_packed += rows
        if num_packed >= BLOCK_ROWS or t == 0:
            gemm_tn_accumulate(
                inputs_packed[:, :num_packed], grad_gates_packed[:, :num_packed], grad_kernel[:input_size]
            )
            gemm_tn_accumulate(
                hidden_packed[:, :num_packed], grad_gates_packed[:, :num_packed], grad_kernel[input_size:]
            )
            gemm_tn_accumulate(unprojected_packed[:, :num_packed], grad_outputs_packed[:, :num_packed], grad_projection)
            num_packed = 0
