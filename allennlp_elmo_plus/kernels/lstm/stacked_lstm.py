"""One layer on a GPU: all directions in one autograd function, each step one batched matrix product and one fused kernel.

Directions share no weights, but their shapes and the lengths of their rows are the same, so they form a batch. PyTorch's batched
products and the kernels of `_triton_kernels.py` read slices of the packed buffers, without a copy.

Letters for shapes: D is here the number of directions.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Optional

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.kernels.cuda_graph import GraphCapture
from allennlp_elmo_plus.kernels.gemm.float32_sums import sums_in_float32
from allennlp_elmo_plus.kernels.jit import KernelUnavailableError
from allennlp_elmo_plus.kernels.lstm.window import Clips, LstmTensors, previous_rows


def _by_step(buffer: Tensor, batch_sizes: list[int], saves: bool) -> Sequence[Tensor]:
    """Return each step's part (D, rows, size) of `buffer`: successive parts, or the same part where nothing is saved."""
    return buffer.split(batch_sizes, dim=1) if saves else [buffer[:, :rows] for rows in batch_sizes]


def _last_rows(state: Tensor, steps: Sequence[Tensor]) -> Tensor:
    """Return each row after its last step, (D, B, size), in the dtype of `state`; a row without a step is as in `state`."""
    parts: list[Tensor] = []
    finished = 0
    for step in (*reversed(steps), state):
        if step.shape[1] > finished:
            parts.append(step[:, finished:].to(state.dtype))
            finished = step.shape[1]
    return torch.cat(parts, dim=1) if parts else state


class _StackedLstm(torch.autograd.Function):
    """The LSTM of D directions.

    From inputs (D, N, I), hidden (D, B, P), cell (D, B, C), kernel (D, I + P, 4C), bias (D, 4C) and projection (D, C, P) or None come
    the outputs (D, N, P), and hidden and cell after each row's last step.

    Inputs, kernel, projection and outputs have the dtype of the products. Hidden, cell and bias have the state's, float32 or wider,
    which all element-wise arithmetic uses. A bfloat16 product sums in float32 and rounds once: the gradients of kernel and
    projection, one product each over all steps, are in bfloat16. The gradient of the bias is summed in the state's dtype.

    The cell's clip is decided in the state's dtype, the projection's clip on the rounded product.
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

        saves = any(ctx.needs_input_grad)
        (num_directions, num_packed, input_size), (_, num_rows, size) = inputs.shape, cell.shape
        with_start = [num_rows, *batch_sizes]
        recurrent = kernel[:, input_size:]
        with sums_in_float32(inputs.device):
            gates = torch.bmm(inputs, kernel[:, :input_size])
        output_history = inputs.new_empty(num_directions, num_rows + num_packed, hidden.shape[2])
        output_history[:, :num_rows] = hidden
        cell_history = cell.new_empty(num_directions, num_rows + num_packed if saves else num_rows, size)
        cell_history[:, :num_rows] = cell
        all_gates, all_outputs = gates.split(batch_sizes, dim=1), output_history.split(with_start, dim=1)
        all_cells, all_unprojected = _by_step(cell_history, with_start, saves), all_outputs[1:]
        unprojected = clipped = None
        if projection is not None:
            saved_rows = num_packed if saves else num_rows
            unprojected = inputs.new_empty(num_directions, saved_rows, size)
            all_unprojected = _by_step(unprojected, batch_sizes, saves)
            if proj_clip is not None:
                clipped = inputs.new_empty(num_directions, saved_rows, hidden.shape[2], dtype=torch.bool)
                all_clipped = _by_step(clipped, batch_sizes, saves)
        with sums_in_float32(inputs.device):
            for t, rows in enumerate(batch_sizes):
                all_gates[t].baddbmm_(all_outputs[t][:, :rows], recurrent)
                cells = all_cells[t][:, :rows], all_cells[t + 1]
                gates_forward(all_gates[t], bias, *cells, all_unprojected[t], cell_clip, saves)
                if projection is not None:
                    torch.bmm(all_unprojected[t], projection, out=all_outputs[t + 1])
                    if proj_clip is not None:
                        clip_values(all_outputs[t + 1], all_clipped[t], proj_clip)
        if saves:
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
    """Return the gradients of the arguments of `_StackedLstm`."""
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
def check_kernels(device: torch.device, dtype: torch.dtype) -> None:
    """Compile the smallest kernel for products of `dtype`, run it on `device`, and check its values.

    Triton may be installed where there is no C compiler, or for a device that it does not support.

    Raises:
        KernelUnavailableError: The kernel cannot be imported or compiled, or computes wrong values.
    """
    try:
        from allennlp_elmo_plus.kernels.lstm._triton_kernels import clip_values

        values = torch.tensor([[[-2.0, 0.5, 2.0]]], device=device, dtype=dtype)
        clipped = torch.zeros_like(values, dtype=torch.bool)
        with torch.cuda.device_of(values):
            clip_values(values, clipped, 1.0)
        computed = values.flatten().tolist(), clipped.flatten().tolist()
    except Exception as error:
        # Of any kind: a missing module, a compiler that cannot be found, fails or is killed, errors of Triton's own.
        raise KernelUnavailableError(f"{type(error).__name__}: {error}") from error
    if computed != ([-1.0, 0.5, 1.0], [True, False, True]):
        raise KernelUnavailableError(f"on {device} for {dtype} a kernel computed {computed}")


def run_stacked(
    batch_sizes: list[int],
    clips: Clips,
    directions: Sequence[LstmTensors],
    dtypes: Sequence[torch.dtype],
    capture: GraphCapture,
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return outputs, hidden and cell of each direction, as `_StackedLstm` computes them.

    Args:
        batch_sizes: The number of rows of each step.
        clips: The bounds of cell and output.
        directions: The tensors of each direction.
        dtypes: The dtype of the products, and so of the outputs, of each direction. The state is in float32 or wider, so that a
            window continues exactly where the window before it ended.
        capture: The CUDA graphs of the layer.

    Raises:
        InputError: The directions' products differ in dtype.
        KernelUnavailableError: Triton does not work on this device.
    """
    if any(dtype is not dtypes[0] for dtype in dtypes):
        raise InputError(
            f"both directions of a layer must have weights of one type on a GPU, got {' and '.join(map(str, dtypes))}"
        )
    device = directions[0].kernel.device
    check_kernels(device, dtypes[0])

    def run(inputs: Tensor, hidden: Tensor, cell: Tensor, kernel: Tensor, bias: Tensor, *projection: Tensor) -> Any:
        return _StackedLstm.apply(
            inputs, batch_sizes, hidden, cell, kernel, bias, projection[0] if projection else None, *clips
        )

    converted = zip(*(direction.converted(dtypes[0]) for direction in directions), strict=True)
    tensors = [torch.stack(group) for group in converted if group[0] is not None]
    # Triton launches on the current device, which need not be the tensors'.
    with torch.cuda.device_of(tensors[0]):
        results = capture(run, (tuple(batch_sizes), *clips), *tensors)
    return list(zip(*results))
