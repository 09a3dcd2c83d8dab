"""The clipped, projected LSTM with layer normalisation."""

from typing import Optional

import torch
from overrides import overrides
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from allennlp_elmo_plus.kernels.dtypes import common_dtype
from allennlp_elmo_plus.modules.recurrent.layer import RecurrentLayer, RecurrentOutput
from allennlp_elmo_plus.modules.recurrent.lstm import LstmLayer

_EPSILON = 1e-5


class LayerNormLstmLayer(LstmLayer):
    """An `LstmLayer` whose gates and memory cell are layer-normalized (Ba et al. 2016, equations 20 to 22).

        i, g, f, o = N(x W) * input_gain + N(h U) * recurrent_gain + b,   the forget gate's bias raised by 1
        c = clip(sigmoid(f) * c + sigmoid(i) * tanh(g), cell_clip)
        h = clip((sigmoid(o) * tanh(N(c) * cell_gain + cell_bias)) P, proj_clip)

    N subtracts the mean of a row and divides by the root of its variance + 1e-5. The rows are: the product with the input and the
    product with the hidden state, each over the 4 * cell_size columns of all gates; and the memory cell, over its cell_size
    columns. Each row of each step is normalized alone, so that no step sees another. The memory cell before N, clipped, continues
    to the next step.

    W and U are the rows [x; h] of `kernel`. The paper also adds a bias to each of the first two N; with b they are one sum, hence
    one parameter here. Gains are 1 until they are loaded. Autograd differentiates each step.

    Arguments are those of `LstmLayer`.
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

    # Not the kernel of `LstmLayer`, which runs both directions.
    run_directions = staticmethod(RecurrentLayer.run_directions)

    @overrides
    def reset_parameters(self) -> None:
        super().reset_parameters()
        for gain in (self.input_gain, self.recurrent_gain, self.cell_gain):
            nn.init.ones_(gain)
        nn.init.zeros_(self.cell_bias)

    @overrides
    def forward(self, inputs: Tensor, batch_sizes: list[int], hidden: Tensor, cell: Tensor) -> RecurrentOutput:
        # In the parameters' type under autocast too, so that the state carried between windows is not rounded.
        with torch.autocast(self.kernel.device.type, enabled=False):
            dtype = common_dtype(self)
            return self._forward(inputs.to(dtype), batch_sizes, hidden.to(dtype), cell.to(dtype))

    def _forward(self, inputs: Tensor, batch_sizes: list[int], hidden: Tensor, cell: Tensor) -> RecurrentOutput:
        input_kernel, recurrent_kernel = self.kernel.split([self.input_size, self.output_size])
        gates_size, cell_size = (4 * self.cell_size,), (self.cell_size,)
        from_inputs = layer_norm(inputs @ input_kernel, gates_size, self.input_gain, self.bias_of_gates(), _EPSILON)
        outputs = []
        for step_gates in from_inputs.split(batch_sizes):
            num_rows = len(step_gates)
            gates = step_gates + layer_norm(
                hidden[:num_rows] @ recurrent_kernel, gates_size, self.recurrent_gain, None, _EPSILON
            )
            input_gate, candidate, forget_gate, output_gate = gates.chunk(4, dim=1)
            step_cell = forget_gate.sigmoid() * cell[:num_rows] + input_gate.sigmoid() * candidate.tanh()
            if self.cell_clip is not None:
                step_cell = step_cell.clamp(-self.cell_clip, self.cell_clip)
            normed = layer_norm(step_cell, cell_size, self.cell_gain, self.cell_bias, _EPSILON)
            step_hidden = output_gate.sigmoid() * normed.tanh()
            if self.projection is not None:
                step_hidden = step_hidden @ self.projection
                if self.proj_clip is not None:
                    step_hidden = step_hidden.clamp(-self.proj_clip, self.proj_clip)
            outputs.append(step_hidden)
            hidden = torch.cat([step_hidden, hidden[num_rows:]])
            cell = torch.cat([step_cell, cell[num_rows:]])
        return RecurrentOutput(torch.cat(outputs) if outputs else inputs.new_zeros(0, self.output_size), hidden, cell)
