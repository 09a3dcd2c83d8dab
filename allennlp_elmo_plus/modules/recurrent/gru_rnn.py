"""Layers of cells that have no memory cell beside their hidden state, computed by PyTorch's own loops."""

from typing import Optional, Union

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from allennlp_elmo_plus.kernels.dtypes import common_dtype
from allennlp_elmo_plus.modules.recurrent.layer import (
    RecurrentLayer,
    RecurrentOutput,
    check_clips,
    check_sizes,
)


class _HiddenStateLayer(RecurrentLayer):
    """A recurrence of PyTorch's, and after it the optional projection of its output:

        h = cell(x, h)
        y = clip(h P, proj_clip)

    What recurs is all of h, of hidden_size, and not the projected output as in `LstmLayer`: the gated unit carries h itself from
    step to step, which so has to keep its width. h lies within -1 and 1, so that there is nothing for a `cell_clip` to do.

    recurrence: with biases, of one layer and one direction. Its weights, and `projection` (hidden_size, P), start at zero.
    """

    def __init__(
        self, recurrence: Union[nn.GRU, nn.RNN], projection_size: Optional[int], proj_clip: Optional[float]
    ) -> None:
        super().__init__()
        self.input_size = recurrence.input_size
        self.hidden_size = recurrence.hidden_size
        self.cell_size = 0
        self.output_size = self.hidden_size if projection_size is None else projection_size
        self.proj_clip = None if projection_size is None else proj_clip
        self.recurrence = recurrence
        for parameter in recurrence.parameters():
            nn.init.zeros_(parameter)
        self.projection: Optional[nn.Parameter] = None
        if projection_size is not None:
            self.projection = nn.Parameter(torch.zeros(self.hidden_size, projection_size))

    def forward(self, inputs: Tensor, batch_sizes: list[int], hidden: Tensor, cell: Tensor) -> RecurrentOutput:
        if not batch_sizes:
            return RecurrentOutput(inputs.new_zeros(0, self.output_size), hidden, cell)
        weight = self.recurrence.all_weights[0][0]
        common_dtype(self)
        num_rows = batch_sizes[0]
        # In the parameters' type under autocast too, so that the state which windows hand on is not rounded.
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
        # cuDNN gives no gradient through a recurrence in evaluation. Without dropout the modes differ in nothing else.
        self.recurrence.train()
        return self


class GruLayer(_HiddenStateLayer):
    """Gated recurrent units (Cho et al. 2014) in the form of `torch.nn.GRUCell`, whose reset gate works on the product with h:

        r, z = sigmoid(x W + b + h U + c)                  their columns of W, U, b, c
        n = tanh(x W + b + r * (h U + c))                  its columns
        h = (1 - z) * n + z * h

    and then the projection, if there is one, see `_HiddenStateLayer`. Parameters are those of `torch.nn.GRU`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        projection_size: Optional[int] = None,
        proj_clip: Optional[float] = None,
    ) -> None:
        check_sizes(input_size=input_size, hidden_size=hidden_size, projection_size=projection_size)
        check_clips(proj_clip=proj_clip)
        super().__init__(nn.GRU(input_size, hidden_size), projection_size, proj_clip)


class RnnLayer(_HiddenStateLayer):
    """The simple recurrence h = tanh(x W + b + h U + c) (Elman 1990; Mikolov et al. 2010 for language models), and then the
    projection, if there is one, see `_HiddenStateLayer`. Parameters are those of `torch.nn.RNN`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        projection_size: Optional[int] = None,
        proj_clip: Optional[float] = None,
    ) -> None:
        check_sizes(input_size=input_size, hidden_size=hidden_size, projection_size=projection_size)
        check_clips(proj_clip=proj_clip)
        super().__init__(nn.RNN(input_size, hidden_size), projection_size, proj_clip)
