"""An LSTM layer of one direction with projection and both clips, over packed sequences."""

from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor, nn

from allennlp_elmo_plus.kernels.cuda_graph import GraphCapture
from allennlp_elmo_plus.kernels.dtypes import common_dtype
from allennlp_elmo_plus.kernels.gemm.linear import product_dtype
from allennlp_elmo_plus.kernels.lstm.clipped_lstm import LstmTensors, clipped_lstm
from allennlp_elmo_plus.kernels.lstm.reference import lstm as lstm_reference
from allennlp_elmo_plus.kernels.lstm.stacked_lstm import has_kernels, run_stacked
from allennlp_elmo_plus.modules.recurrent.layer import (
    RecurrentLayer,
    RecurrentOutput,
    check_clips,
    check_sizes,
)


class LstmLayer(RecurrentLayer):
    """An LSTM with an optional projection of its output, and with cell and projection clipped (Sak et al. 2014, as in bilm-tf):

        i, g, f, o = [x; h] W + b,   the forget gate's bias raised by 1
        c = clip(sigmoid(f) * c + sigmoid(i) * tanh(g), cell_clip)
        h = clip((sigmoid(o) * tanh(c)) P, proj_clip)

    Parameters keep bilm-tf's own layout, so that its HDF5 files are read and written without a change: `kernel`
    (input_size + P, 4 * cell_size) with rows [x; h] and columns i, g, f, o; `bias` (4 * cell_size) without the 1 of the forget
    gate; `projection` (cell_size, P), or None when `projection_size` is None and P = cell_size.

    What recurs is the output, P wide. bilm-tf clips the projection only where there is one, and so do we.

    With `reference=True` the plain step-by-step form differentiated by autograd runs instead of the manual backward. It is what
    the manual one is tested against, and supports double backward, which the manual one refuses.
    """

    def __init__(
        self,
        input_size: int,
        cell_size: int,
        projection_size: Optional[int] = None,
        cell_clip: Optional[float] = None,
        proj_clip: Optional[float] = None,
        reference: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, cell_size=cell_size, projection_size=projection_size)
        check_clips(cell_clip=cell_clip, proj_clip=proj_clip)
        self.input_size = input_size
        self.cell_size = cell_size
        self.output_size = self.hidden_size = cell_size if projection_size is None else projection_size
        self.cell_clip = cell_clip
        self.proj_clip = None if projection_size is None else proj_clip
        self.reference = reference
        self.capture = GraphCapture()
        self.kernel = nn.Parameter(torch.zeros(input_size + self.output_size, 4 * cell_size))
        self.bias = nn.Parameter(torch.zeros(4 * cell_size))
        self.projection = None if projection_size is None else nn.Parameter(torch.zeros(cell_size, projection_size))

    def forward(self, inputs: Tensor, batch_sizes: list[int], hidden: Tensor, cell: Tensor) -> RecurrentOutput:
        return self.run_directions([self], [inputs], batch_sizes, [hidden], [cell])[0]

    @staticmethod
    def run_directions(  # type: ignore[override]
        layers: Sequence["LstmLayer"],
        inputs: Sequence[Tensor],
        batch_sizes: list[int],
        hidden: Sequence[Tensor],
        cell: Sequence[Tensor],
    ) -> list[RecurrentOutput]:
        """`forward` of the layers of each direction, of the same sizes, at once. A ValueError for tensors of other sizes."""
        first = layers[0]
        for layer in layers:
            common_dtype(layer)
        for each in zip(inputs, hidden, cell, strict=True):
            first._check_shapes(batch_sizes, *each)
        tensors = [
            LstmTensors(inputs[d], hidden[d], cell[d], layer.kernel, layer.bias_of_gates(), layer.projection)
            for d, layer in enumerate(layers)
        ]
        if first.reference:
            results = [lstm_reference(batch_sizes, first.cell_clip, first.proj_clip, *each) for each in tensors]
        elif first.kernel.device.type == "cuda" and has_kernels(first.kernel.device, product_dtype(first.kernel)):
            results = run_stacked(batch_sizes, first.cell_clip, first.proj_clip, tensors, first.capture)
        else:
            results = clipped_lstm(batch_sizes, first.cell_clip, first.proj_clip, tensors)
        return [RecurrentOutput(*each) for each in results]

    def _check_shapes(self, batch_sizes: list[int], inputs: Tensor, hidden: Tensor, cell: Tensor) -> None:
        # Nothing would stop a compiled loop from reading beyond them.
        num_rows = len(cell)
        expected = {
            "inputs": (inputs, (sum(batch_sizes), self.input_size)),
            "hidden": (hidden, (num_rows, self.output_size)),
            "cell": (cell, (num_rows, self.cell_size)),
        }
        for name, (tensor, shape) in expected.items():
            if tensor.shape != shape:
                raise ValueError(f"`{name}` must be {shape}, got {tuple(tensor.shape)}")
        if batch_sizes and max(batch_sizes) > num_rows:
            raise ValueError(f"`batch_sizes` must be at most {num_rows}, the rows of `cell`, got {max(batch_sizes)}")

    def bias_of_gates(self) -> Tensor:
        """`bias` with the forget gate's 1: (4 * cell_size,)."""
        forget_bias = torch.zeros_like(self.bias)
        forget_bias[2 * self.cell_size : 3 * self.cell_size] = 1
        return self.bias + forget_bias
