"""
The element-wise part of an LSTM step, forward and backward, in place on preallocated buffers.

Gates are (rows, 4 * cell_size) with columns i, g, f, o. Each function is called once a step, so every operation counts: at small
sizes the time goes to launching operations, not to arithmetic.
"""

from typing import Optional

import torch
from torch import Tensor


def gates_forward(
    gates: Tensor, previous_cell: Tensor, cell: Tensor, cell_tanh: Tensor, output: Tensor, cell_clip: Optional[float]
) -> None:
    """
    Turns the gates' pre-activations into activations in place and fills cell, tanh(cell) and output = sigmoid(o) * tanh(cell),
    each (rows, cell_size).
    """
    size = cell.shape[1]
    gates[:, :size].sigmoid_()
    gates[:, size : 2 * size].tanh_()
    gates[:, 2 * size :].sigmoid_()
    torch.mul(gates[:, 2 * size : 3 * size], previous_cell, out=cell)
    cell.addcmul_(gates[:, :size], gates[:, size : 2 * size])
    if cell_clip is not None:
        cell.clamp_(-cell_clip, cell_clip)
    torch.tanh(cell, out=cell_tanh)
    torch.mul(gates[:, 3 * size :], cell_tanh, out=output)


def gates_backward_factors(gates: Tensor, previous_cells: Tensor, cell_tanh: Tensor) -> Tensor:
    """
    What multiplies d(cell) in the gradients of i, g, f, and d(output) in that of o, for all steps at once: (N, 4 * cell_size).

    These factors do not depend on the gradient that flows backward, so the loop over steps need only multiply.
    """
    size = cell_tanh.shape[1]
    input_gate, candidate, forget_gate, output_gate = gates.split(size, dim=1)
    factors = torch.empty_like(gates)
    input_factor, candidate_factor, forget_factor, output_factor = factors.split(size, dim=1)
    torch.addcmul(input_gate, input_gate, input_gate, value=-1, out=input_factor).mul_(candidate)
    torch.mul(candidate, candidate, out=candidate_factor).neg_().add_(1).mul_(input_gate)
    torch.addcmul(forget_gate, forget_gate, forget_gate, value=-1, out=forget_factor).mul_(previous_cells)
    torch.addcmul(output_gate, output_gate, output_gate, value=-1, out=output_factor).mul_(cell_tanh)
    return factors


def gates_backward(
    factors: Tensor,
    cell_factor: Tensor,
    keep_cell: Optional[Tensor],
    forget_gate: Tensor,
    grad_output: Tensor,
    grad_cell: Tensor,
) -> None:
    """
    One step back: `factors` (rows, 4 * cell_size) become the gradient of the gates' pre-activations, and `grad_cell`
    (rows, cell_size), the gradient from the step after, becomes the one for the step before.

    cell_factor = sigmoid(o) * (1 - tanh(cell)^2); keep_cell: 0 where the cell was clipped, 1 elsewhere, or None without a clip.
    """
    rows, size = grad_cell.shape
    grad_cell.addcmul_(grad_output, cell_factor)
    if keep_cell is not None:
        grad_cell.mul_(keep_cell)
    factors[:, : 3 * size].view(rows, 3, size).mul_(grad_cell.unsqueeze(1))
    factors[:, 3 * size :].mul_(grad_output)
    grad_cell.mul_(forget_gate)
