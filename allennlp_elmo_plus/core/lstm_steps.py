"""
What recurs in an LSTM, step by step on buffers that hold many steps, and the way back.

Two ways to compute the same: one compiled loop over all steps (`core.lstm_window_loops`) unless the weights are too large for it,
and an operation at a time.
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
from .products import product, product_with

# Weights of a kernel up to which the compiled loop takes less time: on any number of threads, of which it uses one; on one thread,
# whatever the rows of a step, for a processor's caches hold them from step to step; and how many more a row makes up for. Beyond,
# libraries that multiply by the weights as they are come out the faster.
SMALL_KERNEL = 1 << 19
CACHED_KERNEL = 1 << 22
KERNEL_A_ROW = 1 << 17

# Rows of a step from which on the compiled loop multiplies inputs and hidden states at once. The inputs' product over many steps
# reads its weights only once, which for few rows takes longer than to multiply.
FEWEST_ROWS = 8


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


class GateGradients(NamedTuple):
    """Of the gates' pre-activations, and of what enters each through a sum or a product of its own."""

    gates: Tensor  # (N, 4C)
    bias: Tensor  # (4C,)
    inputs: Optional[Tensor]  # (N, I)


def forward_steps(
    weights: Weights, clips: Clips, cells: Tensor, unprojected: Tensor, outputs: Tensor, final_cell: Tensor
) -> Callable[[Tensor, Sequence[ForwardStep]], Tensor]:
    """
    A function of (inputs, steps) that runs steps in order and returns the activations of their gates, (N, 4C) for inputs (N, I).
    Cells, what is projected, and outputs are filled in; rows that end leave their cells in final_cell (B, C).

    Buffers have the state's type. Without a projection `unprojected` is `outputs`.
    """
    loops = _window_loops(weights, len(final_cell))
    if loops is not None:
        return _in_one_loop(loops, weights, clips, cells, unprojected, outputs, final_cell)
    step = forward_step(cells, unprojected, clips.cell)
    times_recurrent = product_with(weights.recurrent, len(final_cell), cells.dtype)
    times_projection = None
    if weights.projection is not None:
        times_projection = product_with(weights.projection, len(final_cell), cells.dtype)

    def run(inputs: Tensor, steps: Sequence[ForwardStep]) -> Tensor:
        gates = product(inputs, weights.of_inputs, weights.bias)
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
            if at.staying < at.rows:
                final_cell[at.staying : at.rows] = cells[at.cells + at.staying : at.cells + at.rows]
        return gates

    return run


def _in_one_loop(
    loops: ModuleType, weights: Weights, clips: Clips, *buffers: Tensor
) -> Callable[[Tensor, Sequence[ForwardStep]], Tensor]:
    kernel = weights.kernel
    joins_inputs = kernel.dtype == torch.float32 and len(buffers[-1]) >= FEWEST_ROWS
    factor = loops.gate_panels(_array(kernel if joins_inputs else weights.recurrent))
    bias = loops.gate_panels(_array(weights.bias).reshape(1, -1)).reshape(-1)
    projection = loops.panels(_array(weights.projection))
    arrays = [_array(buffer) for buffer in buffers]
    limits = _limit(clips.cell), _limit(clips.projection)

    def run(inputs: Tensor, steps: Sequence[ForwardStep]) -> Tensor:
        if joins_inputs:
            gates = weights.bias.new_empty(len(inputs), len(weights.bias))
        else:
            gates, inputs = product(inputs, weights.of_inputs).to(weights.bias.dtype), inputs[:, :0]
        given = _array(inputs), factor, bias, projection, _array(gates)
        loops.forward_steps(np.array(steps), *given, *arrays, *limits)
        return gates

    return run


def run_steps_back(
    steps: Sequence[BackwardStep],
    weights: Weights,
    clips: Clips,
    gates: Tensor,
    cells: Tensor,
    outputs: Tensor,
    grad_outputs: Tensor,
    grad_hidden: Tensor,
    grad_cell: Tensor,
    needs_inputs: bool,
) -> GateGradients:
    """
    Runs steps from the last to the first. grad_outputs (N, P) turns from the gradient of `outputs` (N, P) into that of what was
    clipped to them, to which belongs what comes back through time; grad_hidden (B, P) and grad_cell (B, C) turn from the gradients
    of the last state into those of the first.
    """
    grad_gates = torch.empty_like(gates)
    gradients = grad_outputs, grad_hidden, grad_cell
    loops = _window_loops(weights, len(grad_cell))
    if loops is not None and steps:
        return _back_in_one_loop(loops, steps, weights, clips, gates, cells, outputs, *gradients, needs_inputs)
    # Turned round once: read at every step, it is worth up to twice the speed of those products.
    recurrent_t = weights.recurrent.t().contiguous()
    step = backward_step(gates, cells, grad_gates, grad_cell, clips.cell)
    times_recurrent_t = product_with(recurrent_t, len(grad_cell), gates.dtype)
    times_projection_t = None
    if weights.projection is not None:
        times_projection_t = product_with(weights.projection.t(), len(grad_cell), gates.dtype)
    back_through_time = grad_hidden
    for at in reversed(steps):
        grad = grad_outputs[at.first : at.first + at.rows].add_(back_through_time[: at.rows])
        if clips.projection is not None:
            grad.mul_(outputs[at.first : at.first + at.rows].abs() < clips.projection)
        grad_unprojected = grad if times_projection_t is None else times_projection_t(grad)
        step(grad_unprojected, at.first, at.previous_cells, at.cells)
        from_gates = times_recurrent_t(grad_gates[at.first : at.first + at.rows])
        if at.rows < len(grad_hidden):
            back_through_time[: at.rows] = from_gates
        else:
            back_through_time = from_gates
    if back_through_time is not grad_hidden:
        grad_hidden.copy_(back_through_time)
    grad_inputs = product(grad_gates, weights.of_inputs.t()) if needs_inputs else None
    return GateGradients(grad_gates, grad_gates.sum(0), grad_inputs)


def _back_in_one_loop(
    loops: ModuleType,
    steps: Sequence[BackwardStep],
    weights: Weights,
    clips: Clips,
    gates: Tensor,
    cells: Tensor,
    outputs: Tensor,
    grad_outputs: Tensor,
    grad_hidden: Tensor,
    grad_cell: Tensor,
    needs_inputs: bool,
) -> GateGradients:
    multiplies_inputs = needs_inputs and _multiplies(weights.of_inputs.t(), loops)
    factors = [
        loops.panels_t(_array(weight))
        for weight in (weights.of_inputs if multiplies_inputs else None, weights.recurrent, weights.projection)
    ]
    grad_gates, grad_bias = torch.empty_like(gates), gates.new_zeros(gates.shape[1])
    grad_inputs = gates.new_empty(len(gates), weights.of_inputs.shape[0] if multiplies_inputs else 0)
    arrays = [
        _array(tensor)
        for tensor in (cells, outputs, grad_outputs, grad_hidden, grad_cell, grad_gates, grad_bias, grad_inputs)
    ]
    limits = _limit(clips.cell), _limit(clips.projection)
    loops.backward_steps(np.array(steps), _array(gates), *factors, *arrays, *limits)
    if needs_inputs and not multiplies_inputs:
        grad_inputs = product(grad_gates, weights.of_inputs.t())
    return GateGradients(grad_gates, grad_bias, grad_inputs if needs_inputs else None)


def _multiplies(weight: Tensor, loops: ModuleType) -> bool:
    """Whether the loops do: not where a narrower type is faster, nor where a last panel would reach beyond the result."""
    return weight.dtype == torch.float32 and weight.shape[1] % loops.WIDTH == 0


def _window_loops(weights: Weights, num_rows: int) -> Optional[ModuleType]:
    largest = max(CACHED_KERNEL, KERNEL_A_ROW * num_rows) if torch.get_num_threads() == 1 else SMALL_KERNEL
    if weights.kernel.numel() > largest:
        return None
    return loops_for(weights.bias, "lstm_window_loops")


def _array(tensor: Optional[Tensor]) -> np.ndarray:
    """In float32 whatever type it has; without any rows and columns where there is none."""
    return np.empty((0, 0), np.float32) if tensor is None else tensor.detach().float().numpy()


def _limit(clip: Optional[float]) -> np.float32:
    return np.float32(math.inf if clip is None else clip)
