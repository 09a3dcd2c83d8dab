"""The clipped, projected LSTM with back-propagation through time written by hand, for all directions of a layer at once.

Step by step, the products with the inputs are one for some steps at a time, and those that give the weights' gradients one over
all steps; only what recurs stays inside the loops, on buffers allocated once. `kernels.lstm.window` says when a window is one
compiled
loop instead. Directions share nothing and run side by side.
"""

import math
from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import accumulate
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from allennlp_elmo_plus.kernels.dtypes import widest_dtype
from allennlp_elmo_plus.kernels.lstm.steps import (
    Buffers,
    Clips,
    StateGradients,
    Step,
    Weights,
)
from allennlp_elmo_plus.kernels.lstm.window import NeedsGrad, lstm_backward, lstm_forward
from allennlp_elmo_plus.kernels.threads import run_in_threads

# Gates that fit a core's cache beside all else.
CACHED_GATE_VALUES = 1 << 18

# Tensors of a direction among the results of `ClippedLstm`: outputs, hidden and cell.
NUM_RESULTS = 3


class LstmTensors(NamedTuple):
    """What a direction computes with. Inputs, kernel and projection have the type of the matrix products, all else the state's."""

    inputs: Tensor  # (N, I) packed, time-major
    hidden: Tensor  # (B, P) before the first step
    cell: Tensor  # (B, C) before the first step
    kernel: Tensor  # (I + P, 4C)
    bias: Tensor  # (4C,), with the 1 of the forget gate
    projection: Optional[Tensor]  # (C, P)


class _SavedForBackward(NamedTuple):
    """What a direction's backward pass reads."""

    inputs: Tensor  # (N, I)
    kernel: Tensor  # (I + P, 4C)
    bias: Tensor  # (4C,)
    projection: Optional[Tensor]  # (C, P)
    gates: Tensor  # (N, 4C), activations, in the state's type as are the following
    cells: Tensor  # (B + N, C), the initial ones first
    unprojected: Tensor  # (N, C), or `outputs` where there is no projection
    outputs: Tensor  # (B + N, P), the initial hidden state first


class ClippedLstm(torch.autograd.Function):
    """`kernels.lstm.reference` for D directions: arguments batch_sizes, cell_clip, proj_clip, then the `LstmTensors` of each direction one
    after the other; results, for each direction, outputs, hidden and cell.

    Where products are in bfloat16, each is rounded once, those of steps in a compiled loop but in their weights not at all; gates,
    cells, outputs and all sums of gradients are in the state's type.

    Gradients reach all of a direction's tensors. Where a clip is active its gradient is 0; a value exactly at a clip counts as
    clipped. See `clipped_lstm` for what is kept where there is no gradient to compute.
    """

    @staticmethod
    def forward(
        ctx: Any,
        batch_sizes: list[int],
        cell_clip: Optional[float],
        proj_clip: Optional[float],
        *tensors: Optional[Tensor],
    ) -> tuple[Tensor, ...]:
        directions = [LstmTensors(*direction) for direction in _grouped(tensors, len(LstmTensors._fields))]
        results = _forward_in_threads(batch_sizes, cell_clip, proj_clip, directions, keep=True)
        ctx.save_for_backward(*(tensor for _, kept in results for tensor in kept))
        ctx.batch_sizes, ctx.clips = batch_sizes, (cell_clip, proj_clip)
        return tuple(tensor for result, _ in results for tensor in result)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Optional[Tensor], ...]:
        kept = [
            _SavedForBackward(*direction) for direction in _grouped(ctx.saved_tensors, len(_SavedForBackward._fields))
        ]
        needs = _grouped(ctx.needs_input_grad[3:], len(LstmTensors._fields))
        with torch.autocast(grads[0].device.type, enabled=False):
            results = run_in_threads(
                [
                    partial(_backward, *direction, ctx.batch_sizes, *ctx.clips)
                    for direction in zip(kept, _grouped(grads, NUM_RESULTS), needs, strict=True)
                ],
                grads[0].device,
            )
        return (None, None, None, *(grad for direction in results for grad in direction))


def clipped_lstm(
    batch_sizes: list[int],
    cell_clip: Optional[float],
    proj_clip: Optional[float],
    directions: Sequence[LstmTensors],
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """`ClippedLstm` of the tensors of each direction, its products in autocast's type where that is enabled, else in the parameters'.
    Outputs have the parameters' type, the state the same, float32 or wider. Without a gradient to compute only two steps' worth
    of cells are kept, which autograd could not tell: to it a parameter needs a gradient even where none is recorded.
    """
    device_type = directions[0].kernel.device.type
    result_dtypes = [direction.kernel.dtype for direction in directions]
    directions = [_converted(direction) for direction in directions]
    tensors = [tensor for direction in directions for tensor in direction]
    with torch.autocast(device_type, enabled=False):
        if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors):
            results = _grouped(ClippedLstm.apply(batch_sizes, cell_clip, proj_clip, *tensors), NUM_RESULTS)
        else:
            results = [
                result for result, _ in _forward_in_threads(batch_sizes, cell_clip, proj_clip, directions, keep=False)
            ]
    return [(outputs.to(dtype), *state) for (outputs, *state), dtype in zip(results, result_dtypes, strict=True)]


def _converted(direction: LstmTensors) -> LstmTensors:
    """Return the tensors of a direction in the types that `LstmTensors` names: for products autocast's where that is enabled, else the
    parameters'; for the state the parameters', float32 or wider. Inputs and state may come in any type.
    """
    inputs, hidden, cell, kernel, bias, projection = direction
    device_type = kernel.device.type
    autocast = torch.is_autocast_enabled(device_type)
    dtype = torch.get_autocast_dtype(device_type) if autocast else kernel.dtype
    state_dtype = widest_dtype([kernel])
    return LstmTensors(
        inputs.to(dtype),
        hidden.to(state_dtype),
        cell.to(state_dtype),
        kernel.to(dtype),
        bias.to(state_dtype),
        None if projection is None else projection.to(dtype),
    )


def _forward_in_threads(
    batch_sizes: list[int],
    cell_clip: Optional[float],
    proj_clip: Optional[float],
    directions: Sequence[LstmTensors],
    keep: bool,
) -> list[tuple[tuple[Tensor, Tensor, Tensor], Sequence[Optional[Tensor]]]]:
    return run_in_threads(
        [partial(_forward, direction, batch_sizes, cell_clip, proj_clip, keep) for direction in directions],
        directions[0].inputs.device,
    )


def _grouped(values: Sequence[Any], size: int) -> list[Any]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def _forward(
    direction: LstmTensors,
    batch_sizes: list[int],
    cell_clip: Optional[float],
    proj_clip: Optional[float],
    keep: bool,
) -> tuple[tuple[Tensor, Tensor, Tensor], Sequence[Optional[Tensor]]]:
    inputs, hidden, cell, kernel, bias, projection = direction
    input_size, num_rows, num_steps = inputs.shape[1], len(cell), len(batch_sizes)
    outputs = cell.new_empty(num_rows + len(inputs), hidden.shape[1])
    outputs[:num_rows] = hidden
    cells = cell.new_empty(num_rows + len(inputs) if keep else 2 * num_rows, cell.shape[1])
    cells[:num_rows] = cell
    unprojected = outputs
    if projection is not None:
        unprojected = cell.new_empty(len(inputs) if keep else num_rows, cell.shape[1])
    # Gates that a product has just written are still in the processor's cache when their step comes. As many rows at a time as
    # the inputs are wide: from then on the product reads less of the kernel than it writes of gates. Those to be kept lie together.
    block_rows = max(input_size, CACHED_GATE_VALUES // bias.shape[0])
    block_steps = max(1, num_steps if keep else math.ceil(block_rows / max(1, num_rows)))
    steps = _steps(tuple(batch_sizes), num_rows, block_steps, keep, projection is not None)
    final_hidden, final_cell = hidden.clone(), cell.clone()
    gates = cell.new_empty(0, bias.shape[0])
    weights = Weights(kernel, bias, projection, input_size)
    clips = Clips(cell_clip, None if projection is None else proj_clip)
    run = lstm_forward(weights, clips, Buffers(cells, unprojected, outputs), final_cell)
    for first in range(0, num_steps, block_steps):
        block = steps[first : first + block_steps]
        rows = slice(block[0].outputs - num_rows, block[-1].outputs - num_rows + block[-1].rows)
        gates = run(inputs[rows], block)
    for step in steps:
        if step.num_continuing < step.rows:
            ended = slice(step.outputs + step.num_continuing, step.outputs + step.rows)
            final_hidden[step.num_continuing : step.rows] = outputs[ended]
    results = outputs[num_rows:], final_hidden, final_cell
    return results, _SavedForBackward(
        inputs, kernel, bias, projection, gates, cells, unprojected, outputs
    ) if keep else ()


# Windows of running text are all alike.
@lru_cache(maxsize=64)
def _steps(
    batch_sizes: tuple[int, ...], num_rows: int, block_steps: int, keep: bool, has_projection: bool
) -> tuple[Step, ...]:
    """Where each step's rows lie: gates from the first of a block on, and one after the other all that is kept."""
    first_rows = [0, *accumulate(batch_sizes)]
    # Where nothing has to be kept for a backward pass, two steps take turns in one step's buffers.
    cells = [0, *(num_rows + row if keep else num_rows * (1 - t % 2) for t, row in enumerate(first_rows))]
    outputs = [0, *(num_rows + row for row in first_rows)]
    return tuple(
        Step(
            rows=rows,
            gates=first_rows[t] - first_rows[t - t % block_steps],
            hidden=outputs[t],
            previous_cells=cells[t],
            cells=cells[t + 1],
            unprojected=outputs[t + 1] if not has_projection else first_rows[t] if keep else 0,
            outputs=outputs[t + 1],
            num_continuing=batch_sizes[t + 1] if t + 1 < len(batch_sizes) else 0,
        )
        for t, rows in enumerate(batch_sizes)
    )


def _backward(
    kept: _SavedForBackward,
    grads: Sequence[Tensor],
    needs: Sequence[bool],
    batch_sizes: list[int],
    cell_clip: Optional[float],
    proj_clip: Optional[float],
) -> tuple[Optional[Tensor], ...]:
    inputs, kernel, bias, projection, gates, cells, unprojected, outputs = kept
    state_grads = StateGradients(*(grad.clone(memory_format=torch.contiguous_format) for grad in grads))
    steps = _steps(tuple(batch_sizes), len(state_grads.cell), max(1, len(batch_sizes)), True, projection is not None)
    needs_inputs, _, _, needs_kernel, needs_bias, needs_projection = needs
    found = lstm_backward(
        steps,
        inputs,
        Weights(kernel, bias, projection, inputs.shape[1]),
        Clips(cell_clip, None if projection is None else proj_clip),
        gates,
        Buffers(cells, unprojected, outputs),
        state_grads,
        NeedsGrad(needs_inputs, needs_kernel, needs_projection),
    )
    grad_bias = found.bias if needs_bias else None
    return found.inputs, state_grads.hidden, state_grads.cell, found.kernel, grad_bias, found.projection
