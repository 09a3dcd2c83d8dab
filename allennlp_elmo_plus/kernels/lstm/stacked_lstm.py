"""One biLM layer on a GPU: all its directions in one autograd function, each step one batched matrix product and one fused kernel.

Directions share no weights, but their shapes and their rows' lengths are the same, so that they make a batch of D. PyTorch's
batched products and the kernels of `kernels.lstm._triton_kernels` take slices of the packed buffers as they are, without a copy.
"""

import logging
from collections.abc import Sequence
from functools import cache
from typing import Any, Optional

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.kernels.cuda_graph import GraphCapture
from allennlp_elmo_plus.kernels.gemm.float32_sums import sums_in_float32
from allennlp_elmo_plus.kernels.lstm.clipped_lstm import LstmTensors
from allennlp_elmo_plus.kernels.lstm.window import previous_rows

logger = logging.getLogger(__name__)


def _by_step(buffer: Tensor, batch_sizes: list[int], keep: bool) -> Sequence[Tensor]:
    """Each step's part (D, rows, size) of `buffer`: one after the other or, where nothing is kept, all in the same place."""
    return buffer.split(batch_sizes, dim=1) if keep else [buffer[:, :rows] for rows in batch_sizes]


def _last_rows(state: Tensor, steps: Sequence[Tensor]) -> Tensor:
    """(D, B, size): each row after its last step, or as it is in `state` if it never ran. In the dtype of `state`."""
    parts: list[Tensor] = []
    finished = 0
    for step in (*reversed(steps), state):
        if step.shape[1] > finished:
            parts.append(step[:, finished:].to(state.dtype))
            finished = step.shape[1]
    return torch.cat(parts, dim=1)


class StackedLstm(torch.autograd.Function):
    """The recurrence of `LstmLayer` for D directions, over inputs (D, N, I) packed time-major: `batch_sizes[t]` rows run at step t,
    never more than at the step before, and rows that have ended keep their state.

    hidden (D, B, P), cell (D, B, cell_size), kernel (D, I + P, 4 * cell_size), bias (D, 4 * cell_size) which holds the 1 of the
    forget gate, projection (D, cell_size, P) or None. Returns outputs (D, N, P), and hidden and cell after each row's last step.

    Inputs, kernel and projection have the dtype of the matrix products, and so have the outputs; hidden, cell and bias have the
    state's, float32 or above, in which cells are kept and all element-wise arithmetic is done. A bfloat16 product sums in float32
    and rounds once: the gradients of kernel and projection, one product each over all steps, come out in bfloat16, and float32
    parameters get them through the cast that made their bfloat16 copies. The gradient of the bias is summed in float32.

    Gradients reach inputs, initial state, kernel, bias and projection. Where a clip is active its gradient is 0; a value exactly at
    a clip counts as clipped. The cell's clip is decided in the state's dtype, the projection's on what the product has rounded to.
    Without a gradient to compute only the outputs and one step's worth of the rest are kept.
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        batch_sizes: list[int],
        hidden: Tensor,
        cell: Tensor,
        kernel: Tensor,
        bias: Tensor,
        projection: Optional[Tensor],
        cell_clip: Optional[float],
        proj_clip: Optional[float],
    ) -> tuple[Tensor, Tensor, Tensor]:
        from allennlp_elmo_plus.kernels.lstm._triton_kernels import clip_values, gates_forward

        keep = any(ctx.needs_input_grad)
        (num_directions, num_packed, input_size), (_, num_rows, size) = inputs.shape, cell.shape
        with_start = [num_rows, *batch_sizes]
        recurrent = kernel[:, input_size:]
        with sums_in_float32(inputs.device):
            gates = torch.bmm(inputs, kernel[:, :input_size])
        output_history = inputs.new_empty(num_directions, num_rows + num_packed, hidden.shape[2])
        output_history[:, :num_rows] = hidden
        cell_history = cell.new_empty(num_directions, num_rows + num_packed if keep else num_rows, size)
        cell_history[:, :num_rows] = cell
        all_gates, all_outputs = gates.split(batch_sizes, dim=1), output_history.split(with_start, dim=1)
        all_cells, all_unprojected = _by_step(cell_history, with_start, keep), all_outputs[1:]
        unprojected = clipped = None
        if projection is not None:
            kept_rows = num_packed if keep else num_rows
            unprojected = inputs.new_empty(num_directions, kept_rows, size)
            all_unprojected = _by_step(unprojected, batch_sizes, keep)
            if proj_clip is not None:
                clipped = inputs.new_empty(num_directions, kept_rows, hidden.shape[2], dtype=torch.bool)
                all_clipped = _by_step(clipped, batch_sizes, keep)
        with sums_in_float32(inputs.device):
            for t, rows in enumerate(batch_sizes):
                all_gates[t].baddbmm_(all_outputs[t][:, :rows], recurrent)
                cells = all_cells[t][:, :rows], all_cells[t + 1]
                gates_forward(all_gates[t], bias, *cells, all_unprojected[t], cell_clip, keep)
                if projection is not None:
                    torch.bmm(all_unprojected[t], projection, out=all_outputs[t + 1])
                    if proj_clip is not None:
                        clip_values(all_outputs[t + 1], all_clipped[t], proj_clip)
        if keep:
            ctx.save_for_backward(inputs, kernel, projection, gates, cell_history, unprojected, output_history, clipped)
            ctx.batch_sizes, ctx.cell_clip = batch_sizes, cell_clip
        last_hidden, last_cell = _last_rows(hidden, all_outputs[1:]), _last_rows(all_cells[0], all_cells[1:])
        return output_history[:, num_rows:], last_hidden, last_cell

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_outputs: Tensor, grad_hidden: Tensor, grad_cell: Tensor
    ) -> tuple[Optional[Tensor], ...]:
        with sums_in_float32(grad_outputs.device):
            return _backward(ctx, grad_outputs, grad_hidden, grad_cell)


def _backward(ctx: Any, grad_outputs: Tensor, grad_hidden: Tensor, grad_cell: Tensor) -> tuple[Optional[Tensor], ...]:
    """The gradients of `StackedLstm`'s arguments."""
    from allennlp_elmo_plus.kernels.lstm._triton_kernels import gates_backward

    inputs, kernel, projection, gates, cell_history, unprojected, output_history, clipped = ctx.saved_tensors
    batch_sizes, needs, input_size = ctx.batch_sizes, ctx.needs_input_grad, inputs.shape[2]
    num_directions, num_rows, size = grad_cell.shape
    recurrent_t = kernel[:, input_size:].transpose(1, 2)
    grad_outputs = grad_outputs.clone(memory_format=torch.contiguous_format)
    grad_hidden, grad_cell = grad_hidden.clone(), grad_cell.clone(memory_format=torch.contiguous_format)
    grad_gates, grad_unprojected = torch.empty_like(gates), gates.new_empty(num_directions, num_rows, size)
    all_gates, all_grad_gates = gates.split(batch_sizes, dim=1), grad_gates.split(batch_sizes, dim=1)
    all_cells = cell_history.split([num_rows, *batch_sizes], dim=1)
    all_grad_outputs = grad_outputs.split(batch_sizes, dim=1)
    all_clipped = None if clipped is None else clipped.split(batch_sizes, dim=1)
    next_rows = 0
    for t in range(len(batch_sizes) - 1, -1, -1):
        rows, step_grad = batch_sizes[t], all_grad_outputs[t]
        if next_rows < rows:
            step_grad[:, next_rows:].add_(grad_hidden[:, next_rows:rows])
        if all_clipped is not None:
            step_grad.masked_fill_(all_clipped[t], 0)
        step_unprojected = step_grad
        if projection is not None:
            step_unprojected = grad_unprojected[:, :rows]
            torch.bmm(step_grad, projection.transpose(1, 2), out=step_unprojected)
        cells, grad = (all_cells[t][:, :rows], all_cells[t + 1]), grad_cell[:, :rows]
        gates_backward(all_gates[t], *cells, step_unprojected, grad, all_grad_gates[t], ctx.cell_clip)
        if t > 0:
            all_grad_outputs[t - 1][:, :rows].baddbmm_(all_grad_gates[t], recurrent_t)
        elif needs[2]:
            grad_hidden[:, :rows] = torch.bmm(all_grad_gates[t], recurrent_t)
        next_rows = rows

    grad_inputs = grad_kernel = grad_bias = grad_projection = None
    if needs[0]:
        grad_inputs = torch.bmm(grad_gates, kernel[:, :input_size].transpose(1, 2))
    if needs[4]:
        grad_kernel = torch.empty_like(kernel)
        previous_outputs = previous_rows(output_history, num_rows, batch_sizes)
        torch.bmm(inputs.transpose(1, 2), grad_gates, out=grad_kernel[:, :input_size])
        torch.bmm(previous_outputs.transpose(1, 2), grad_gates, out=grad_kernel[:, input_size:])
    if needs[5]:
        grad_bias = grad_gates.sum(1, dtype=grad_cell.dtype)
    if needs[6]:
        grad_projection = torch.bmm(unprojected.transpose(1, 2), grad_outputs)
    return grad_inputs, None, grad_hidden, grad_cell, grad_kernel, grad_bias, grad_projection, None, None


@cache
def has_kernels(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernels of `kernels.lstm._triton_kernels` run on `device`, with products of type `dtype`: compiles the smallest
    one and runs
    it. Triton may be installed where there is no C compiler, or for a device that it does not know. The log says why not.
    """
    try:
        from allennlp_elmo_plus.kernels.lstm._triton_kernels import clip_values

        values = torch.tensor([[[-2.0, 0.5, 2.0]]], device=device, dtype=dtype)
        clipped = torch.zeros_like(values, dtype=torch.bool)
        with torch.cuda.device_of(values):
            clip_values(values, clipped, 1.0)
        found = values.flatten().tolist(), clipped.flatten().tolist()
        if found != ([-1.0, 0.5, 1.0], [True, False, True]):
            raise RuntimeError(f"a kernel computed {found}")
    except Exception as error:
        # Of any kind: a missing module, a compiler that cannot be found, fails or is killed, errors of Triton's own.
        logger.warning(
            "Triton has no working kernels on %s for %s, and the LSTM runs by PyTorch's operations, slower: %s: %s",
            device,
            dtype,
            type(error).__name__,
            " ".join(str(error).split())[:500],
        )
        return False
    return True


def run_stacked(
    batch_sizes: list[int],
    cell_clip: Optional[float],
    proj_clip: Optional[float],
    directions: Sequence[LstmTensors],
    capture: GraphCapture,
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """`StackedLstm` of the tensors of each direction; for each its outputs, hidden and cell. `capture`: the layer's own.

    Matrix products, and with them the outputs, have autocast's dtype where it is enabled, else the parameters'. The state comes
    back in float32 or above, so that a window goes on exactly where the one before it ended.
    """
    inputs, hidden, cell, kernels, biases, projections = zip(*directions, strict=True)
    if any(kernel.dtype is not kernels[0].dtype for kernel in kernels):
        found = " and ".join(str(kernel.dtype) for kernel in kernels)
        raise InputError(f"both directions of a layer must have weights of one type on a GPU, got {found}")
    device_type = kernels[0].device.type
    autocast = torch.is_autocast_enabled(device_type)
    dtype = torch.get_autocast_dtype(device_type) if autocast else kernels[0].dtype
    state_dtype = torch.promote_types(kernels[0].dtype, torch.float32)

    def stacked(tensors: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        return torch.stack([tensor.to(dtype) for tensor in tensors])

    def run(inputs: Tensor, hidden: Tensor, cell: Tensor, kernel: Tensor, bias: Tensor, *projection: Tensor) -> Any:
        return StackedLstm.apply(
            inputs, batch_sizes, hidden, cell, kernel, bias, projection[0] if projection else None, cell_clip, proj_clip
        )

    tensors = [
        stacked(inputs, dtype),
        stacked(hidden, state_dtype),
        stacked(cell, state_dtype),
        stacked(kernels, dtype),
        stacked(biases, state_dtype),
    ]
    if projections[0] is not None:
        tensors.append(stacked(projections, dtype))
    # Triton launches on the current device, which need not be the tensors'.
    with torch.autocast(device_type, enabled=False), torch.cuda.device_of(kernels[0]):
        results = capture(run, (tuple(batch_sizes), cell_clip, proj_clip), *tensors)
    return list(zip(*results))
