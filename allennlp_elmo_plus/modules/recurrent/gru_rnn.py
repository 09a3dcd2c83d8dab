"""Layers of cells without a memory cell, GRU and simple RNN, computed by PyTorch's own recurrences."""

from typing import Union

import torch
from overrides import overrides
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from allennlp_elmo_plus.modules.initialization import glorot_uniform_
from allennlp_elmo_plus.modules.recurrent.hidden_state import HiddenStateLayer


class _PyTorchLayer(HiddenStateLayer):
    """A layer with a recurrence of PyTorch."""

    # The recurrence of one layer and one direction, with biases.
    recurrence_class: type[Union[nn.GRU, nn.RNN]]
    # Initial value of the input's bias in the gates before the last one.
    gate_bias = 0.0

    @overrides
    def create_recurrence(self) -> None:
        self.recurrence = self.recurrence_class(self.input_size, self.hidden_size)
        for parameter in self.recurrence.parameters():
            nn.init.zeros_(parameter)

    @overrides
    def reset_recurrence(self) -> None:
        input_weight, hidden_weight, input_bias, hidden_bias = self.recurrence.all_weights[0]
        # As one kernel with rows [x; h] and the columns of all gates.
        fan_sum = self.input_size + self.hidden_size + len(input_bias)
        glorot_uniform_(input_weight, fan_sum)
        glorot_uniform_(hidden_weight, fan_sum)
        nn.init.zeros_(input_bias)
        nn.init.constant_(input_bias[: -self.hidden_size], self.gate_bias)
        nn.init.zeros_(hidden_bias)

    @overrides
    def recur(self, inputs: Tensor, batch_sizes: list[int], hidden: Tensor) -> tuple[Tensor, Tensor]:
        packed = PackedSequence(inputs, torch.tensor(batch_sizes))
        states, last = self.recurrence(packed, hidden.unsqueeze(0).contiguous())
        return states.data, last[0]

    def train(self, mode: bool = True) -> "_PyTorchLayer":
        super().train(mode)
        # In evaluation mode cuDNN gives no gradient through a recurrence. Without dropout the modes do not differ otherwise.
        self.recurrence.train()
        return self


class GruLayer(_PyTorchLayer):
    """A layer of gated recurrent units (Cho et al. 2014) in the form of `torch.nn.GRUCell`: the reset gate multiplies h U + c.

        r, z = sigmoid(x W + b + h U + c)                  their columns of W, U, b, c
        n = tanh(x W + b + r * (h U + c))                  its columns
        h = (1 - z) * n + z * h

    The optional projection follows, see `HiddenStateLayer`. Parameters are those of `torch.nn.GRU`.
    """

    recurrence_class = nn.GRU
    # Reset and update gate begin open, as in TensorFlow's `GRUCell`.
    gate_bias = 1.0


class RnnLayer(_PyTorchLayer):
    """A layer with the simple recurrence h = tanh(x W + b + h U + c) (Elman 1990; for language models Mikolov et al. 2010).

    The optional projection follows, see `HiddenStateLayer`. Parameters are those of `torch.nn.RNN`.
    """

    recurrence_class = nn.RNN
