"""The clipped, projected LSTM with layer normalisation."""

from typing import Optional

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from allennlp_elmo_plus.kernels.dtypes import common_dtype
from allennlp_elmo_plus.modules.recurrent.layer import RecurrentLayer, RecurrentOutput
from allennlp_elmo_plus.modules.recurrent.lstm import LstmLayer

_EPSILON = 1e-5


class LayerNormLstmLayer(LstmLayer):
    """`LstmLayer` with the sums that enter its gates, and the cell that leaves it, normalised (Ba et al. 2016, equations 20 to 22):

        i, g, f, o = N(x W) * input_gain + N(h U) * recurrent_gain + b,   the forget gate's bias raised by 1
        c = clip(sigmoid(f) * c + sigmoid(i) * tanh(g), cell_clip)
        h = clip((sigmoid(o) * tanh(N(c) * cell_gain + cell_bias)) P, proj_clip)

    N takes a row's mean away and divides by its standard deviation, the root of its variance + 1e-5: over all 4 * cell_size columns
    of the four gates together, the product with the input and the one with the hidden state each for itself, and over the
    cell_size columns of the cell. Each row of each step is normalised alone, so that no step sees another. What goes on to the next
    step is the cell as it was before N, and clipped.

    W and U are the rows [x; h] of `kernel`. The paper adds a bias to each of the first two N as well; they and b are one sum,
    and so one parameter here. Gains start at 1. Differentiated by autograd, step by step.
    """

    def __init__(
        self,
        input_size: int,
        cell_size: int,
        projection_size: Optional[int] = None,
        cell_clip: Optional[float] = None,
        proj_clip: Optional[float] = None,
    ) -> None:
        super().__init__(input_size, cell_size, projection_size, cell_clip, proj_clip)
        self.input_gain = nn.Parameter(torch.ones(4 * cell_size))
        self.recurrent_gain = nn.Parameter(torch.ones(4 * cell_size))
        self.cell_gain = nn.Parameter(torch.ones(cell_size))
        self.cell_bias = nn.Parameter(torch.zeros(cell_size))

    # Each direction for itself, not the loops of `LstmLayer`.
    run_directions = staticmethod(RecurrentLayer.run_directions)

    def forward(self, inputs: Tensor, batch_sizes: list[int], hidden: Tensor, cell: Tensor) -> RecurrentOutput:
        # In the parameters' type under autocast too, so that the state which windows hand on is not rounded.
        with torch.autocast(self.kernel.device.type, enabled=False):
            dtype = common_dtype(self)
            return self._forward(inputs.to(dtype), batch_sizes, hidden.to(dtype), cell.to(dtype))

    def _forward(self, inputs: Tensor, batch_sizes: list[int], hidden: Tensor, cell: Tensor) -> RecurrentOutput:
        of_inputs, recurrent = self.kernel.split([self.input_size, self.output_size])
        gates_size, cell_size = (4 * self.cell_size,), (self.cell_size,)
        from_inputs = layer_norm(inputs @ of_inputs, gates_size, self.input_gain, self.bias_of_gates(), _EPSILON)
        outputs = []
        for step_gates in from_inputs.split(batch_sizes):
            rows = len(step_gates)
            gates = step_gates + layer_norm(hidden[:rows] @ recurrent, gates_size, self.recurrent_gain, None, _EPSILON)
            input_gate, candidate, forget_gate, output_gate = gates.chunk(4, dim=1)
            step_cell = forget_gate.sigmoid() * cell[:rows] + input_gate.sigmoid() * candidate.tanh()
            if self.cell_clip is not None:
                step_cell = step_cell.clamp(-self.cell_clip, self.cell_clip)
            normed = layer_norm(step_cell, cell_size, self.cell_gain, self.cell_bias, _EPSILON)
            step_hidden = output_gate.sigmoid() * normed.tanh()
            if self.projection is not None:
                step_hidden = step_hidden @ self.projection
                if self.proj_clip is not None:
                    step_hidden = step_hidden.clamp(-self.proj_clip, self.proj_clip)
            outputs.append(step_hidden)
            hidden = torch.cat([step_hidden, hidden[rows:]])
            cell = torch.cat([step_cell, cell[rows:]])
        return RecurrentOutput(torch.cat(outputs) if outputs else inputs.new_zeros(0, self.output_size), hidden, cell)
