"""The definition of the clipped, projected LSTM: step by step, differentiated by autograd."""

from typing import Optional

import torch
from torch import Tensor


def lstm(
    batch_sizes: list[int],
    cell_clip: Optional[float],
    proj_clip: Optional[float],
    inputs: Tensor,
    hidden: Tensor,
    cell: Tensor,
    kernel: Tensor,
    bias: Tensor,
    projection: Optional[Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the outputs (N, P), and hidden (B, P) and cell (B, C) after each row's last step.

    Args:
        batch_sizes: The number of rows of each step, never more than at the step before.
        cell_clip: The bound of the cell; None for no bound.
        proj_clip: The bound of the projected output; None for no bound.
        inputs: Packed time-major, (N, I).
        hidden: The output before the first step, (B, P).
        cell: The cell before the first step, (B, C).
        kernel: (I + P, 4C), columns i, g, f, o.
        bias: (4C,), with the 1 of the forget gate.
        projection: (C, P), or None: P is C.
    """
    outputs = []
    for step_inputs in inputs.split(batch_sizes):
        rows = len(step_inputs)
        gates = torch.cat([step_inputs, hidden[:rows]], dim=1) @ kernel + bias
        input_gate, candidate, forget_gate, output_gate = gates.chunk(4, dim=1)
        step_cell = forget_gate.sigmoid() * cell[:rows] + input_gate.sigmoid() * candidate.tanh()
        if cell_clip is not None:
            step_cell = step_cell.clamp(-cell_clip, cell_clip)
        step_hidden = output_gate.sigmoid() * step_cell.tanh()
        if projection is not None:
            step_hidden = step_hidden @ projection
            if proj_clip is not None:
                step_hidden = step_hidden.clamp(-proj_clip, proj_clip)
        outputs.append(step_hidden)
        hidden = torch.cat([step_hidden, hidden[rows:]])
        cell = torch.cat([step_cell, cell[rows:]])
    return torch.cat(outputs) if outputs else inputs.new_zeros(0, hidden.shape[1]), hidden, cell
