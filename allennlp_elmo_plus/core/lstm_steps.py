"""
What recurs in an LSTM, step by step on buffers that hold many steps, and the way back.

Two ways to compute the same: one compiled loop over all steps (`core.lstm_window_loops`) where the products are small, else an
operation at a time.
"""

import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor

from .compiled import loops_for
from .lstm_pointwise import backward_step, forward_step
from .products import onednn_is_faster, product_with

# Multiply-adds of a step's recurrent product up to which the compiled loop takes less time. Libraries multiply up to twice as fast,
# but to call them takes Python's lock, for which the thread of the other direction waits. Where MKL has its fast kernels, only as
# many as take no longer than the calls.
MOST_WORK = 1 << 23
MOST_WORK_BESIDE_MKL = 1 << 20


class ForwardStep(NamedTuple):
    """Where a step's rows lie: how many there are, the first one in each buffer, and how many go on to the next step."""

    rows: int
    gates: int
    hidden: int  # the step before, in the outputs
    previous_cells: int
    cells: int
    unprojected: int
    outputs: int
    staying: int


class BackwardStep(NamedTuple):
    """Where a step's rows lie: how many there are, and the first one among all steps' rows and, twice, in the cells."""

    rows: int
    first: int
    previous_cells: int
    cells: int


def forward_steps(
    recurrent: Tensor,
    projection: Optional[Tensor],
    cells: Tensor,
    unprojected: Tensor,
    outputs: Tensor,
    final_cell: Tensor,
    cell_clip: Optional[float],
    proj_clip: Optional[float],
) -> Callable[[Tensor, Sequence[ForwardStep]], None]:
    """
    A function of (gates, steps) that runs steps in order. Gates come as the inputs' part of the pre-activations and become
    activations; cells, what is projected, and outputs are filled in; rows that end leave their cells in final_cell (B, C).

    recurrent (P, 4C) and projection (C, P) have the type of the products, all else the state's. Without a projection `unprojected`
    is `outputs`.
    """
    loops = _window_loops(cells, recurrent, len(final_cell))
    if loops is not None:
        arrays = _arrays(recurrent, projection, cells, unprojected, outputs, final_cell)
        clips = _limit(cell_clip), _limit(proj_clip)
        return lambda gates, steps: loops.forward_steps(np.array(steps), gates.numpy(), *arrays, *clips)
    step = forward_step(cells, unprojected, cell_clip)
    times_recurrent = product_with(recurrent, len(final_cell), cells.dtype)
    times_projection = None if projection is None else product_with(projection, len(final_cell), cells.dtype)

    def run(gates: Tensor, steps: Sequence[ForwardStep]) -> None:
        for at in steps:
            from_hidden = times_recurrent(outputs[at.hidden : at.hidden + at.rows])
            step(gates, from_hidden, at.gates, at.previous_cells, at.cells, at.unprojected)
            if times_projection is not None:
                projected = times_projection(unprojected[at.unprojected : at.unprojected + at.rows])
                output = outputs[at.outputs : at.outputs + at.rows]
                if proj_clip is None:
                    output.copy_(projected)
                else:
                    torch.clamp(projected, -proj_clip, proj_clip, out=output)
            if at.staying < at.rows:
                final_cell[at.staying : at.rows] = cells[at.cells + at.staying : at.cells + at.rows]

    return run


def run_steps_back(
    steps: Sequence[BackwardStep],
    gates: Tensor,
    recurrent: Tensor,
    projection: Optional[Tensor],
    cells: Tensor,
    passes: Optional[Tensor],
    grad_outputs: Tensor,
    grad_hidden: Tensor,
    grad_cell: Tensor,
    cell_clip: Optional[float],
) -> Tensor:
    """
    Runs steps from the last to the first and returns the gradient of the gates' pre-activations (N, 4C). What comes back through
    time is added to grad_outputs (N, P), times `passes` (N, P) where that is given; grad_hidden (B, P) and grad_cell (B, C) turn
    from the gradients of the last state into those of the first.
    """
    grad_gates = torch.empty_like(gates)
    # Turned round once: read at every step, it is worth up to twice the speed of those products.
    recurrent_t = recurrent.t().contiguous()
    loops = _window_loops(cells, recurrent, len(grad_cell))
    if loops is not None and steps:
        projection_t = None if projection is None else projection.t().contiguous()
        arrays = _arrays(
            gates, recurrent_t, projection_t, cells, passes, grad_outputs, grad_hidden, grad_cell, grad_gates
        )
        loops.backward_steps(np.array(steps), *arrays, _limit(cell_clip))
        return grad_gates
    step = backward_step(gates, cells, grad_gates, grad_cell, cell_clip)
    times_recurrent_t = product_with(recurrent_t, len(grad_cell), gates.dtype)
    times_projection_t = None if projection is None else product_with(projection.t(), len(grad_cell), gates.dtype)
    back_through_time = grad_hidden
    for at in reversed(steps):
        grad = grad_outputs[at.first : at.first + at.rows]
        if passes is None:
            grad.add_(back_through_time[: at.rows])
        else:
            grad.addcmul_(back_through_time[: at.rows], passes[at.first : at.first + at.rows])
        grad_unprojected = grad if times_projection_t is None else times_projection_t(grad)
        step(grad_unprojected, at.first, at.previous_cells, at.cells)
        from_gates = times_recurrent_t(grad_gates[at.first : at.first + at.rows])
        if at.rows < len(grad_hidden):
            back_through_time[: at.rows] = from_gates
        else:
            back_through_time = from_gates
    if back_through_time is not grad_hidden:
        grad_hidden.copy_(back_through_time)
    return grad_gates


def _window_loops(cells: Tensor, recurrent: Tensor, num_rows: int) -> Optional[ModuleType]:
    most_work = MOST_WORK if onednn_is_faster() else min(MOST_WORK, MOST_WORK_BESIDE_MKL)
    return None if num_rows * recurrent.numel() > most_work else loops_for(cells, "lstm_window_loops")


def _arrays(*tensors: Optional[Tensor]) -> list[np.ndarray]:
    """Float32 buffers, and weights that may be bfloat16 as float32; with no rows for a tensor that there is not."""
    return [np.empty((0, 0), np.float32) if tensor is None else tensor.detach().float().numpy() for tensor in tensors]


def _limit(clip: Optional[float]) -> np.float32:
    return np.float32(math.inf if clip is None else clip)
