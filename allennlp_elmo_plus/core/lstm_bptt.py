"""
The clipped, projected LSTM with back-propagation through time written by hand, for all directions of a layer at once.

The products with the inputs are one for some steps at a time, and those that give the weights' gradients one over all steps; only
what recurs stays inside the loops, on buffers allocated once. Directions share nothing and run side by side.
"""

import math
from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .lstm_pointwise import backward_step, forward_step
from .mixed_products import add_product, write_product
from .side_by_side import side_by_side

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


class _Kept(NamedTuple):
    """What a direction's backward pass reads."""

    inputs: Tensor  # (N, I)
    kernel: Tensor  # (I + P, 4C)
    projection: Optional[Tensor]  # (C, P)
    gates: Tensor  # (N, 4C), activations, in the state's type as are the following
    cells: Tensor  # (B + N, C), the initial ones first
    unprojected: Tensor  # (N, C), or `outputs` where there is no projection
    outputs: Tensor  # (B + N, P), the initial hidden state first


class ClippedLstm(torch.autograd.Function):
    """
    `lstm_reference` for D directions: arguments batch_sizes, cell_clip, proj_clip, then the `LstmTensors` of each direction one
    after the other; results, for each direction, outputs, hidden and cell.

    Where products are in bfloat16, each is rounded once; gates, cells, outputs and all sums of gradients are in the state's type.

    Gradients reach all of a direction's tensors. Where a clip is active its gradient is 0; a value exactly at a clip counts as
    clipped. See `run_clipped` for what is kept where there is no gradient to compute.
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
        results = _forward_side_by_side(batch_sizes, cell_clip, proj_clip, directions, keep=True)
        ctx.save_for_backward(*(tensor for _, kept in results for tensor in kept))
        ctx.batch_sizes, ctx.clips = batch_sizes, (cell_clip, proj_clip)
        return tuple(tensor for result, _ in results for tensor in result)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Optional[Tensor], ...]:
        kept = [_Kept(*direction) for direction in _grouped(ctx.saved_tensors, len(_Kept._fields))]
        needs = _grouped(ctx.needs_input_grad[3:], len(LstmTensors._fields))
        with torch.autocast(grads[0].device.type, enabled=False):
            results = side_by_side(
                [
                    partial(_backward, *direction, ctx.batch_sizes, *ctx.clips)
                    for direction in zip(kept, _grouped(grads, NUM_RESULTS), needs, strict=True)
                ],
                grads[0].device,
            )
        return (None, None, None, *(grad for direction in results for grad in direction))


def run_clipped(
    batch_sizes: list[int],
    cell_clip: Optional[float],
    proj_clip: Optional[float],
    directions: Sequence[LstmTensors],
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """
    `ClippedLstm` of the tensors of each direction, its products in autocast's type where that is enabled, else in the parameters',
    and all results in the parameters'. Without a gradient to compute only two steps' worth of cells are kept, which autograd could
    not tell: to it a parameter needs a gradient even where none is recorded.
    """
    device_type = directions[0].kernel.device.type
    autocast = torch.is_autocast_enabled(device_type)
    dtype = torch.get_autocast_dtype(device_type) if autocast else directions[0].kernel.dtype
    directions = [
        direction._replace(
            inputs=direction.inputs.to(dtype),
            kernel=direction.kernel.to(dtype),
            projection=None if direction.projection is None else direction.projection.to(dtype),
        )
        for direction in directions
    ]
    tensors = [tensor for direction in directions for tensor in direction]
    with torch.autocast(device_type, enabled=False):
        if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors):
            return _grouped(ClippedLstm.apply(batch_sizes, cell_clip, proj_clip, *tensors), NUM_RESULTS)
        results = _forward_side_by_side(batch_sizes, cell_clip, proj_clip, directions, keep=False)
    return [result for result, _ in results]


def _forward_side_by_side(
    batch_sizes: list[int],
    cell_clip: Optional[float],
    proj_clip: Optional[float],
    directions: Sequence[LstmTensors],
    keep: bool,
) -> list[tuple[tuple[Tensor, Tensor, Tensor], Sequence[Optional[Tensor]]]]:
    return side_by_side(
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
    from_inputs, recurrent = kernel[:input_size], kernel[input_size:]
    outputs = cell.new_empty(num_rows + len(inputs), hidden.shape[1])
    outputs[:num_rows] = hidden
    first_rows = [0, *accumulate(batch_sizes)]
    # Gates that a product has just written are still in the processor's cache when their step comes. As many rows at a time as
    # the inputs are wide: from then on the product reads less of the kernel than it writes of gates.
    block_steps = max(1, math.ceil(input_size / max(1, num_rows)))
    gates = cell.new_empty(len(inputs) if keep else block_steps * num_rows, bias.shape[0])
    first_gates = [row if keep else row - first_rows[t - t % block_steps] for t, row in enumerate(first_rows)]
    # Where nothing has to be kept for a backward pass, two steps take turns in one step's buffers.
    first_cells = [num_rows + row for row in first_rows] if keep else [num_rows * (1 - t % 2) for t in range(num_steps)]
    cells = cell.new_empty(num_rows + len(inputs) if keep else 2 * num_rows, cell.shape[1])
    cells[:num_rows] = cell
    if projection is None:
        unprojected, first_unprojected = outputs, [num_rows + row for row in first_rows]
    else:
        unprojected = cell.new_empty(len(inputs) if keep else num_rows, cell.shape[1])
        first_unprojected = first_rows if keep else [0] * num_steps
    step = forward_step(gates, cells, unprojected, cell_clip)
    step_outputs = outputs[num_rows:].split(batch_sizes)
    step_hidden, previous_cells = hidden, 0
    final_hidden, final_cell = hidden.clone(), cell.clone()
    for t, rows in enumerate(batch_sizes):
        gate = first_gates[t]
        if t % block_steps == 0:
            block = inputs[first_rows[t] : first_rows[min(t + block_steps, num_steps)]]
            add_product(gates[gate : gate + len(block)].copy_(bias), block, from_inputs)
        add_product(gates[gate : gate + rows], step_hidden[:rows], recurrent)
        step(gate, previous_cells, first_cells[t], first_unprojected[t], rows)
        step_hidden, previous_cells = step_outputs[t], first_cells[t]
        if projection is not None:
            start = first_unprojected[t]
            write_product(unprojected[start : start + rows], projection, out=step_hidden)
            if proj_clip is not None:
                step_hidden.clamp_(-proj_clip, proj_clip)
        next_rows = batch_sizes[t + 1] if t + 1 < num_steps else 0
        if next_rows < rows:
            final_hidden[next_rows:rows] = step_hidden[next_rows:]
            final_cell[next_rows:rows] = cells[previous_cells + next_rows : previous_cells + rows]
    results = outputs[num_rows:], final_hidden, final_cell
    return results, _Kept(inputs, kernel, projection, gates, cells, unprojected, outputs) if keep else ()


def _backward(
    kept: _Kept,
    grads: Sequence[Tensor],
    needs: Sequence[bool],
    batch_sizes: list[int],
    cell_clip: Optional[float],
    proj_clip: Optional[float],
) -> tuple[Optional[Tensor], ...]:
    inputs, kernel, projection, gates, cells, unprojected, outputs = kept
    grad_outputs, grad_hidden, grad_cell = (grad.clone(memory_format=torch.contiguous_format) for grad in grads)
    input_size, num_rows = inputs.shape[1], len(grad_cell)
    # Turned round once: read at every step, it is worth up to twice the speed of those products.
    recurrent_t = kernel[input_size:].t().contiguous()
    projection_t = None if projection is None else projection.t()
    keep = None
    if projection is not None and proj_clip is not None:
        keep = (outputs[num_rows:].abs() < proj_clip).to(outputs.dtype)
        # The clip's mask multiplies a sum: this part of it once for all steps, the recurrent part inside the loop.
        grad_outputs.mul_(keep)
    step_keep = None if keep is None else keep.split(batch_sizes)
    grad_gates = torch.empty_like(gates)
    grad_unprojected = torch.empty_like(grad_cell)
    step = backward_step(gates, cells, grad_gates, grad_cell, grad_unprojected, cell_clip)
    step_grad_gates, step_grad_outputs = grad_gates.split(batch_sizes), grad_outputs.split(batch_sizes)
    first_rows = [0, *accumulate(batch_sizes)]
    for t in range(len(batch_sizes) - 1, -1, -1):
        rows, grad = batch_sizes[t], step_grad_outputs[t]
        if step_keep is None:
            grad.add_(grad_hidden[:rows])
        else:
            grad.addcmul_(grad_hidden[:rows], step_keep[t])
        if projection_t is None:
            grad_unprojected[:rows] = grad
        else:
            write_product(grad, projection_t, out=grad_unprojected[:rows])
        step(first_rows[t], num_rows + first_rows[t - 1] if t else 0, num_rows + first_rows[t], rows)
        write_product(step_grad_gates[t], recurrent_t, out=grad_hidden[:rows])

    needs_inputs, _, _, needs_kernel, needs_bias, needs_projection = needs
    factor = grad_gates.to(kernel.dtype)
    grad_inputs = factor @ kernel[:input_size].t() if needs_inputs else None
    grad_kernel = grad_bias = grad_projection = None
    if needs_kernel:
        previous = previous_rows(outputs, num_rows, batch_sizes).to(kernel.dtype)
        grad_kernel = torch.cat([inputs, previous], dim=1).t() @ factor
    if needs_bias:
        grad_bias = grad_gates.sum(0)
    if needs_projection:
        grad_projection = unprojected.to(kernel.dtype).t() @ grad_outputs.to(kernel.dtype)
    return grad_inputs, grad_hidden, grad_cell, grad_kernel, grad_bias, grad_projection


def previous_rows(history: Tensor, num_rows: int, batch_sizes: list[int]) -> Tensor:
    """
    What each packed row held one step earlier, (..., N, size). `history` (..., B + N, size) holds the initial state of the
    B = `num_rows` rows, then the packed steps.
    """
    if all(rows == num_rows for rows in batch_sizes):
        return history[..., :-num_rows, :]
    blocks = history.split([num_rows, *batch_sizes], dim=-2)
    return torch.cat([blocks[t][..., :rows, :] for t, rows in enumerate(batch_sizes)], dim=-2)
