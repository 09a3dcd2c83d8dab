"""
All steps of a direction, and the way back through them, as one compiled loop each, matrix products included.

For an LSTM so small that calling its operations one by one takes longer than computing them, and that two directions, each on its
thread, wait for Python's lock most of the time.
"""

import numpy as np

from .compiled import compiled, inlined
from .lstm_loops import inlined_gates_backward, inlined_gates_forward

F = np.float32


@inlined
def _multiply(left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
    """out (M, N) = left (M, K) @ right (K, N), four rows by four at a time, so that what is loaded is used four times."""
    num_rows, inner = left.shape
    num_columns = right.shape[1]
    whole_rows, whole_inner = num_rows - num_rows % 4, inner - inner % 4
    out[:] = F(0)
    for i in range(0, whole_rows, 4):
        o0, o1, o2, o3 = out[i], out[i + 1], out[i + 2], out[i + 3]
        l0, l1, l2, l3 = left[i], left[i + 1], left[i + 2], left[i + 3]
        for k in range(0, whole_inner, 4):
            r0, r1, r2, r3 = right[k], right[k + 1], right[k + 2], right[k + 3]
            a0, a1, a2, a3 = l0[k], l0[k + 1], l0[k + 2], l0[k + 3]
            b0, b1, b2, b3 = l1[k], l1[k + 1], l1[k + 2], l1[k + 3]
            c0, c1, c2, c3 = l2[k], l2[k + 1], l2[k + 2], l2[k + 3]
            d0, d1, d2, d3 = l3[k], l3[k + 1], l3[k + 2], l3[k + 3]
            for j in range(num_columns):
                x0, x1, x2, x3 = r0[j], r1[j], r2[j], r3[j]
                o0[j] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
                o1[j] += b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
                o2[j] += c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3
                o3[j] += d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3
    for i in range(num_rows):
        row, factors = out[i], left[i]
        for k in range(whole_inner if i < whole_rows else 0, inner):
            factor, values = factors[k], right[k]
            for j in range(num_columns):
                row[j] += factor * values[j]


@compiled
def forward_steps(
    steps: np.ndarray,
    gates: np.ndarray,
    recurrent: np.ndarray,
    projection: np.ndarray,
    cells: np.ndarray,
    unprojected: np.ndarray,
    outputs: np.ndarray,
    final_cell: np.ndarray,
    cell_clip: F,
    proj_clip: F,
) -> None:
    """What `core.lstm_bptt._forward` does step by step. `projection` has no rows where there is none."""
    from_hidden = np.empty((steps[0, 0], gates.shape[1]), F)
    for t in range(len(steps)):
        rows, gate, hidden, previous, cell, unprojected_row, output, staying = steps[t]
        _multiply(outputs[hidden : hidden + rows], recurrent, from_hidden[:rows])
        inlined_gates_forward(
            gates, from_hidden[:rows], cells, unprojected, cell_clip, gate, previous, cell, unprojected_row
        )
        if len(projection) > 0:
            projected = outputs[output : output + rows]
            _multiply(unprojected[unprojected_row : unprojected_row + rows], projection, projected)
            for i in range(rows):
                for j in range(projected.shape[1]):
                    value = projected[i, j]
                    value = proj_clip if value > proj_clip else value
                    projected[i, j] = -proj_clip if value < -proj_clip else value
        final_cell[staying:rows] = cells[cell + staying : cell + rows]


@compiled
def backward_steps(
    steps: np.ndarray,
    gates: np.ndarray,
    recurrent_t: np.ndarray,
    projection_t: np.ndarray,
    cells: np.ndarray,
    passes: np.ndarray,
    grad_outputs: np.ndarray,
    grad_hidden: np.ndarray,
    grad_cell: np.ndarray,
    grad_gates: np.ndarray,
    cell_clip: F,
) -> None:
    """What `core.lstm_bptt._backward` does step by step. `passes` has no rows where no projection is clipped."""
    grad_unprojected = np.empty((steps[0, 0], cells.shape[1]), F)
    for t in range(len(steps) - 1, -1, -1):
        rows, row, previous, cell = steps[t]
        grad = grad_outputs[row : row + rows]
        for i in range(rows):
            for j in range(grad.shape[1]):
                grad[i, j] += grad_hidden[i, j] * passes[row + i, j] if len(passes) > 0 else grad_hidden[i, j]
        if len(projection_t) > 0:
            _multiply(grad, projection_t, grad_unprojected[:rows])
        else:
            grad_unprojected[:rows] = grad
        inlined_gates_backward(
            grad_unprojected[:rows], gates, cells, grad_gates, grad_cell, cell_clip, row, previous, cell
        )
        _multiply(grad_gates[row : row + rows], recurrent_t, grad_hidden[:rows])
