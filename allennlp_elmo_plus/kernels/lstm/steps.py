"""What recurs in an LSTM, step by step on buffers that hold many steps, and the way back: an operation at a time.

`kernels.lstm.window` computes the same in one compiled loop over all steps where that is faster.
"""

from collections.abc import Callable
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.kernels.gemm.linear import linear, prepare_linear
from allennlp_elmo_plus.kernels.lstm.pointwise import backward_step, forward_step


class Weights(NamedTuple):
    """What a direction's steps compute with; all but the bias have the type of the products."""

    kernel: Tensor  # (I + P, 4C)
    bias: Tensor  # (4C,), with the 1 of the forget gate
    projection: Optional[Tensor]  # (C, P)
    input_size: int  # I

    @property
    def of_inputs(self) -> Tensor:
        return self.kernel[: self.input_size]

    @property
    def recurrent(self) -> Tensor:
        return self.kernel[self.input_size :]


class Clips(NamedTuple):
    cell: Optional[float]
    projection: Optional[float]  # None where there is no projection


class Buffers(NamedTuple):
    """What steps fill in, in the state's type. Without a projection `unprojected` is `outputs`."""

    cells: Tensor  # (B + N, C), the initial ones first
    unprojected: Tensor  # (N, C)
    outputs: Tensor  # (B + N, P), the initial hidden state first


class StateGradients(NamedTuple):
    outputs: Tensor  # (N, P)
    hidden: Tensor  # (B, P)
    cell: Tensor  # (B, C)


class Step(NamedTuple):
    """Where a step's rows lie: how many there are, the first one in each buffer, and how many go on to the next step."""

    rows: int
    gates: int
    hidden: int  # the step before, in the outputs
    previous_cells: int
    cells: int
    unprojected: int
    outputs: int
    num_continuing: int


# Runs steps in order over inputs (N, I) and returns the activations of their gates, (N, 4C).
Run = Callable[[Tensor, tuple[Step, ...]], Tensor]


def forward_steps(weights: Weights, clips: Clips, buffers: Buffers, final_cell: Tensor) -> Run:
    """A function that runs steps and fills in buffers; rows that end leave their cells in final_cell (B, C)."""
    cells, unprojected, outputs = buffers
    step = forward_step(cells, unprojected, clips.cell)
    times_recurrent = prepare_linear(weights.recurrent, len(final_cell), cells.dtype)
    times_projection = None
    if weights.projection is not None:
        times_projection = prepare_linear(weights.projection, len(final_cell), cells.dtype)

    def run(inputs: Tensor, steps: tuple[Step, ...]) -> Tensor:
        gates = linear(inputs, weights.of_inputs, weights.bias)
        for at in steps:
            from_hidden = times_recurrent(outputs[at.hidden : at.hidden + at.rows])
            step(gates, from_hidden, at.gates, at.previous_cells, at.cells, at.unprojected)
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

    return run


def backward_steps(
    steps: tuple[Step, ...], weights: Weights, clips: Clips, gates: Tensor, buffers: Buffers, grads: StateGradients
) -> Tensor:
    """Runs steps from the last to the first and returns the gradient of the gates' pre-activations (N, 4C). grads.outputs turns from
    the gradient of the outputs into that of what was clipped to them, to which belongs what comes back through time; the others
    turn from the gradients of the last state into those of the first.
    """
    grad_gates = torch.empty_like(gates)
    # Turned round once: read at every step, it is worth up to twice the speed of those products.
    recurrent_t = weights.recurrent.t().contiguous()
    step = backward_step(gates, buffers.cells, grad_gates, grads.cell, clips.cell)
    times_recurrent_t = prepare_linear(recurrent_t, len(grads.cell), gates.dtype)
    times_projection_t = None
    if weights.projection is not None:
        times_projection_t = prepare_linear(weights.projection.t(), len(grads.cell), gates.dtype)
    grad_hidden_rows = grads.hidden
    for at in reversed(steps):
        grad = grads.outputs[at.gates : at.gates + at.rows].add_(grad_hidden_rows[: at.rows])
        if clips.projection is not None:
            grad.mul_(buffers.outputs[at.outputs : at.outputs + at.rows].abs() < clips.projection)
        grad_unprojected = grad if times_projection_t is None else times_projection_t(grad)
        step(grad_unprojected, at.gates, at.previous_cells, at.cells)
        from_gates = times_recurrent_t(grad_gates[at.gates : at.gates + at.rows])
        if at.rows < len(grads.hidden):
            grad_hidden_rows[: at.rows] = from_gates
        else:
            grad_hidden_rows = from_gates
    if grad_hidden_rows is not grads.hidden:
        grads.hidden.copy_(grad_hidden_rows)
    return grad_gates
