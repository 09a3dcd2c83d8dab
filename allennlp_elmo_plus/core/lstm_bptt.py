"""
The clipped, projected LSTM with back-propagation through time written by hand.

The products with the inputs, and those that give the weights' gradients, are one matrix product each over all steps; only what
recurs stays inside the loops, on buffers allocated once.
"""

from typing import Any, Optional

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .lstm_pointwise import gates_backward, gates_backward_factors, gates_forward


def previous_rows(history: Tensor, num_rows: int, batch_sizes: list[int]) -> Tensor:
    """
    What each packed row held one step earlier, (N, size). `history` (B + N, size) holds the initial state of the B = `num_rows`
    rows, then the packed steps.
    """
    if all(rows == num_rows for rows in batch_sizes):
        return history[:-num_rows]
    blocks = history.split([num_rows] + batch_sizes)
    return torch.cat([blocks[t][:rows] for t, rows in enumerate(batch_sizes)])


class ClippedLstm(torch.autograd.Function):
    """
    Same arguments and results as `lstm_reference`.

    Gradients reach inputs, initial state, kernel, bias and projection. Where a clip is active its gradient is 0; a value exactly at
    a clip counts as clipped. Without a gradient to compute only two steps' worth of cells are kept.
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
        keep = any(ctx.needs_input_grad)
        input_size, num_rows, size = inputs.shape[1], len(cell), cell.shape[1]
        recurrent = kernel[input_size:]
        gates = torch.addmm(bias, inputs, kernel[:input_size])
        output_history = inputs.new_empty(num_rows + len(inputs), hidden.shape[1])
        output_history[:num_rows] = hidden
        outputs = output_history[num_rows:]
        # Where nothing has to be kept for a backward, all steps share one step's buffers.
        kept_rows = batch_sizes if keep else batch_sizes[:1]
        cell_history = inputs.new_empty(num_rows + sum(kept_rows), size)
        cell_history[:num_rows] = cell
        cell_tanh = inputs.new_empty(sum(kept_rows), size)
        unprojected = outputs if projection is None else torch.empty_like(cell_tanh)
        all_gates, all_outputs = gates.split(batch_sizes), outputs.split(batch_sizes)
        all_cells, all_tanh = cell_history[num_rows:].split(kept_rows), cell_tanh.split(kept_rows)
        all_unprojected = all_outputs if projection is None else unprojected.split(kept_rows)
        step_cell, step_hidden = cell, hidden
        hidden, cell = hidden.clone(), cell.clone()
        for t, rows in enumerate(batch_sizes):
            step_gates, step_outputs, kept = all_gates[t], all_outputs[t], t if keep else 0
            step_gates.addmm_(step_hidden[:rows], recurrent)
            step_unprojected = all_outputs[t] if projection is None else all_unprojected[kept][:rows]
            gates_forward(
                step_gates, step_cell[:rows], all_cells[kept][:rows], all_tanh[kept][:rows], step_unprojected, cell_clip
            )
            if projection is not None:
                torch.mm(step_unprojected, projection, out=step_outputs)
                if proj_clip is not None:
                    step_outputs.clamp_(-proj_clip, proj_clip)
            step_cell, step_hidden = all_cells[kept], step_outputs
            next_rows = batch_sizes[t + 1] if t + 1 < len(batch_sizes) else 0
            if next_rows < rows:
                hidden[next_rows:rows] = step_outputs[next_rows:]
                cell[next_rows:rows] = step_cell[next_rows:rows]
        if keep:
            ctx.save_for_backward(
                inputs, kernel, projection, gates, cell_history, cell_tanh, unprojected, output_history
            )
            ctx.batch_sizes, ctx.clips = batch_sizes, (cell_clip, proj_clip)
        return outputs, hidden, cell

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_outputs: Tensor, grad_hidden: Tensor, grad_cell: Tensor
    ) -> tuple[Optional[Tensor], ...]:
        inputs, kernel, projection, gates, cell_history, cell_tanh, unprojected, output_history = ctx.saved_tensors
        batch_sizes, (cell_clip, proj_clip) = ctx.batch_sizes, ctx.clips
        input_size, (num_rows, size) = inputs.shape[1], grad_cell.shape
        cells, outputs = cell_history[num_rows:], output_history[num_rows:]
        grad_outputs, grad_hidden, grad_cell = grad_outputs.clone(), grad_hidden.clone(), grad_cell.clone()
        recurrent_t = kernel[input_size:].t()
        projection_t = None if projection is None else projection.t()

        grad_gates = gates_backward_factors(gates, previous_rows(cell_history, num_rows, batch_sizes), cell_tanh)
        cell_factor = torch.mul(cell_tanh, cell_tanh).neg_().add_(1).mul_(gates[:, 3 * size :])
        keep_output = None if proj_clip is None else (outputs.abs() < proj_clip).to(outputs.dtype)
        keep_cell = None if cell_clip is None else (cells.abs() < cell_clip).to(cells.dtype).split(batch_sizes)
        if keep_output is not None:
            # The clip's mask multiplies a sum: this part of it once for all steps, the recurrent part inside the loop.
            grad_outputs.mul_(keep_output)
        all_keep = None if keep_output is None else keep_output.split(batch_sizes)
        all_grad_outputs, all_grad_gates = grad_outputs.split(batch_sizes), grad_gates.split(batch_sizes)
        all_cell_factors, all_forget = cell_factor.split(batch_sizes), gates[:, 2 * size : 3 * size].split(batch_sizes)
        grad_unprojected = inputs.new_empty(num_rows, size)
        for t in range(len(batch_sizes) - 1, -1, -1):
            rows, step_grad = batch_sizes[t], all_grad_outputs[t]
            if all_keep is None:
                step_grad.add_(grad_hidden[:rows])
            else:
                step_grad.addcmul_(grad_hidden[:rows], all_keep[t])
            if projection_t is None:
                step_unprojected = step_grad
            else:
                step_unprojected = torch.mm(step_grad, projection_t, out=grad_unprojected[:rows])
            gates_backward(
                all_grad_gates[t],
                all_cell_factors[t],
                None if keep_cell is None else keep_cell[t],
                all_forget[t],
                step_unprojected,
                grad_cell[:rows],
            )
            torch.mm(all_grad_gates[t], recurrent_t, out=grad_hidden[:rows])

        needs = ctx.needs_input_grad
        grad_inputs = grad_gates @ kernel[:input_size].t() if needs[0] else None
        grad_kernel = grad_bias = grad_projection = None
        if needs[4]:
            grad_kernel = torch.empty_like(kernel)
            torch.mm(inputs.t(), grad_gates, out=grad_kernel[:input_size])
            torch.mm(previous_rows(output_history, num_rows, batch_sizes).t(), grad_gates, out=grad_kernel[input_size:])
        if needs[5]:
            grad_bias = grad_gates.sum(0)
        if needs[6]:
            grad_projection = unprojected.t() @ grad_outputs
        return grad_inputs, None, grad_hidden, grad_cell, grad_kernel, grad_bias, grad_projection, None, None
