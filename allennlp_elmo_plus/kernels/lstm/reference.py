"""The clipped, projected LSTM step by step, differentiated by autograd: the form to read, and the one to compare with."""

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
    """The recurrence of `LstmLayer` over packed inputs (N, I); `bias` (4 * cell_size) already holds the 1 of the forget gate.

    Returns the outputs (N, P), and hidden (B, P) and cell (B, cell_size) after each row's last step.
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
