"""Layers of cells without a memory cell, GRU and simple RNN, computed by PyTorch's own recurrences."""

from typing import Optional, Union

import torch
from overrides import overrides
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from allennlp_elmo_plus.errors import check_at_least_one
from allennlp_elmo_plus.kernels.dtypes import common_dtype
from allennlp_elmo_plus.modules.initialization import glorot_uniform_
from allennlp_elmo_plus.modules.recurrent.layer import RecurrentLayer, RecurrentOutput, check_clips, projection_size_of
from allennlp_elmo_plus.options.bilm_options import LstmOptions


class _HiddenStateLayer(RecurrentLayer):
    """A recurrence of PyTorch, followed by an optional projection of its output.

        h = cell(x, h)
        y = clip(h P, proj_clip)

    Unlike in `LstmLayer`, the hidden state h recurs at its full width, hidden_size, not the projected output: a GRU adds the old h
    to the new one, so both need one width. h lies between -1 and 1, so that a `cell_clip` would have no effect. All weights,
    `projection` (hidden_size, P) included, are zero until they are initialized or loaded.

    Args:
        input_size: Width of the inputs, at least 1.
        hidden_size: Width of the hidden state, at least 1.
        projection_size: P; None for no projection and P = `hidden_size`.
        proj_clip: Bound of the projected output; None for none. Ignored without a projection.

    Raises:
        InputError: A size is below 1.
        ValueError: The clip is not positive.
    """

    # The recurrence of one layer and one direction, with biases.
    recurrence_class: type[Union[nn.GRU, nn.RNN]]
    # Initial value of the input's bias in the gates before the last one.
    gate_bias = 0.0

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        projection_size: Optional[int] = None,
        proj_clip: Optional[float] = None,
    ) -> None:
        super().__init__()
        check_at_least_one(input_size=input_size, hidden_size=hidden_size, projection_size=projection_size)
        check_clips(proj_clip=proj_clip)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.cell_size = 0
        self.output_size = hidden_size if projection_size is None else projection_size
        self.proj_clip = None if projection_size is None else proj_clip
        self.recurrence = self.recurrence_class(input_size, hidden_size)
        for parameter in self.recurrence.parameters():
            nn.init.zeros_(parameter)
        self.projection = None if projection_size is None else nn.Parameter(torch.zeros(hidden_size, projection_size))

    @classmethod
    @overrides
    def from_options(cls, options: LstmOptions) -> "_HiddenStateLayer":
        return cls(options.projection_dim, options.dim, projection_size_of(options), options.proj_clip)

    @overrides
    def reset_parameters(self) -> None:
        input_weight, hidden_weight, input_bias, hidden_bias = self.recurrence.all_weights[0]
        # As one kernel with rows [x; h] and the columns of all gates.
        fan_sum = self.input_size + self.hidden_size + len(input_bias)
        glorot_uniform_(input_weight, fan_sum)
        glorot_uniform_(hidden_weight, fan_sum)
        nn.init.zeros_(input_bias)
        nn.init.constant_(input_bias[: -self.hidden_size], self.gate_bias)
        nn.init.zeros_(hidden_bias)
        if self.projection is not None:
            glorot_uniform_(self.projection)

    @overrides
    def forward(self, inputs: Tensor, batch_sizes: list[int], hidden: Tensor, cell: Tensor) -> RecurrentOutput:
        if not batch_sizes:
            return RecurrentOutput(inputs.new_zeros(0, self.output_size), hidden, cell)
        weight = self.recurrence.all_weights[0][0]
        common_dtype(self)
        num_rows = batch_sizes[0]
        # In the parameters' type under autocast too, so that the state carried between windows is not rounded.
        with torch.autocast(weight.device.type, enabled=False):
            packed = PackedSequence(inputs.to(weight.dtype), torch.tensor(batch_sizes))
            packed, last = self.recurrence(packed, hidden[:num_rows].to(weight.dtype).unsqueeze(0).contiguous())
            outputs = packed.data
            if self.projection is not None:
                outputs = outputs @ self.projection
                if self.proj_clip is not None:
                    outputs = outputs.clamp(-self.proj_clip, self.proj_clip)
        return RecurrentOutput(outputs, torch.cat([last[0], hidden[num_rows:].to(weight.dtype)]), cell)

    def train(self, mode: bool = True) -> "_HiddenStateLayer":
        super().train(mode)
        # In evaluation mode cuDNN gives no gradient through a recurrence. Without dropout the modes do not differ otherwise.
        self.recurrence.train()
        return self


class GruLayer(_HiddenStateLayer):
    """A layer of gated recurrent units (Cho et al. 2014) in the form of `torch.nn.GRUCell`: the reset gate multiplies h U + c.

        r, z = sigmoid(x W + b + h U + c)                  their columns of W, U, b, c
        n = tanh(x W + b + r * (h U + c))                  its columns
        h = (1 - z) * n + z * h

    The optional projection follows, see `_HiddenStateLayer`. Parameters are those of `torch.nn.GRU`.
    """

    recurrence_class = nn.GRU
    # Reset and update gate begin open, as in TensorFlow's `GRUCell`.
    gate_bias = 1.0


class RnnLayer(_HiddenStateLayer):
    """A layer with the simple recurrence h = tanh(x W + b + h U + c) (Elman 1990; for language models Mikolov et al. 2010).

    The optional projection follows, see `_HiddenStateLayer`. Parameters are those of `torch.nn.RNN`.
    """

    recurrence_class = nn.RNN
