"""An LSTM layer of one direction with projection and both clips, over packed sequences."""

from collections.abc import Sequence
from typing import Optional

import torch
from overrides import overrides
from torch import Tensor, nn

from allennlp_elmo_plus.kernels.cuda_graph import GraphCapture
from allennlp_elmo_plus.kernels.dtypes import common_dtype
from allennlp_elmo_plus.kernels.lstm.clipped_lstm import clipped_lstm
from allennlp_elmo_plus.kernels.lstm.window import LstmTensors
from allennlp_elmo_plus.modules.initialization import glorot_uniform_
from allennlp_elmo_plus.modules.recurrent.layer import RecurrentLayer, RecurrentOutput, projection_size_of
from allennlp_elmo_plus.options.bilm_options import LstmOptions


class LstmLayer(RecurrentLayer):
    """An LSTM layer with clipped memory cell and an optional, clipped projection of its output (Sak et al. 2014, as in bilm-tf).

        i, g, f, o = [x; h] W + b,   the forget gate's bias raised by 1
        c = clip(sigmoid(f) * c + sigmoid(i) * tanh(g), cell_clip)
        h = clip((sigmoid(o) * tanh(c)) P, proj_clip)

    The output, P wide, recurs. Parameters have bilm-tf's layout, so that its HDF5 files are read and written without a change:
    `kernel` (input_size + P, 4 * cell_size) with rows [x; h] and columns i, g, f, o; `bias` (4 * cell_size,) without the 1 of the
    forget gate; `projection` (cell_size, P) or None. All are zero until they are initialized or loaded.

    Args:
        input_size: Width of the inputs, at least 1.
        cell_size: Width of the memory cell, at least 1.
        projection_size: P; None for no projection and P = `cell_size`.
        cell_clip: Bound of the memory cell; None for none.
        proj_clip: Bound of the projected output; None for none. Ignored without a projection, as in bilm-tf.
    """

    def __init__(
        self,
        input_size: int,
        cell_size: int,
        projection_size: Optional[int] = None,
        cell_clip: Optional[float] = None,
        proj_clip: Optional[float] = None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.cell_size = cell_size
        self.output_size = self.hidden_size = cell_size if projection_size is None else projection_size
        self.cell_clip = cell_clip
        self.proj_clip = None if projection_size is None else proj_clip
        self.capture = GraphCapture()
        self.kernel = nn.Parameter(torch.zeros(input_size + self.output_size, 4 * cell_size))
        self.bias = nn.Parameter(torch.zeros(4 * cell_size))
        self.projection = None if projection_size is None else nn.Parameter(torch.zeros(cell_size, projection_size))

    @classmethod
    @overrides
    def from_options(cls, options: LstmOptions) -> "LstmLayer":
        width, projection_size = options.projection_dim, projection_size_of(options)
        return cls(width, options.dim, projection_size, options.cell_clip, options.proj_clip)

    @overrides
    def reset_parameters(self) -> None:
        glorot_uniform_(self.kernel)
        nn.init.zeros_(self.bias)
        if self.projection is not None:
            glorot_uniform_(self.projection)

    @overrides
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
        """Return the result of `forward` of the layer of each direction; one kernel runs them together.

        Raises:
            ValueError: A tensor has another shape than the layers' sizes and `batch_sizes` require.
        """
        first = layers[0]
        for layer in layers:
            common_dtype(layer)
        for direction in zip(inputs, hidden, cell, strict=True):
            first._check_shapes(batch_sizes, *direction)
        tensors = [
            LstmTensors(inputs[d], hidden[d], cell[d], layer.kernel, layer.bias_of_gates(), layer.projection)
            for d, layer in enumerate(layers)
        ]
        results = clipped_lstm(batch_sizes, first.cell_clip, first.proj_clip, tensors, first.capture)
        return [RecurrentOutput(*result) for result in results]

    def _check_shapes(self, batch_sizes: list[int], inputs: Tensor, hidden: Tensor, cell: Tensor) -> None:
        # A compiled kernel does not check bounds.
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
        """Return `bias` with the forget gate's 1 added, (4 * cell_size,)."""
        forget_bias = torch.zeros_like(self.bias)
        forget_bias[2 * self.cell_size : 3 * self.cell_size] = 1
        return self.bias + forget_bias
