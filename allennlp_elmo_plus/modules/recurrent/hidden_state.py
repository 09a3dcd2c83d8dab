"""The base of recurrent layers without a memory cell: sizes, projection and clip; a subclass adds the recurrence."""

from typing import Optional

import torch
from overrides import overrides
from torch import Tensor, nn

from allennlp_elmo_plus.kernels.dtypes import common_dtype
from allennlp_elmo_plus.modules.initialization import glorot_uniform_
from allennlp_elmo_plus.modules.recurrent.layer import RecurrentLayer, RecurrentOutput, projection_size_of
from allennlp_elmo_plus.options.bilm_options import LstmOptions


class HiddenStateLayer(RecurrentLayer):
    """A recurrence of the hidden state alone, followed by an optional projection of its output.

        h = cell(x, h)
        y = clip(h P, proj_clip)

    Unlike in `LstmLayer`, the hidden state h recurs at its full width, hidden_size, not the projected output: a GRU adds the old h
    to the new one, so both need one width. h lies between -1 and 1, so that a `cell_clip` would have no effect. All weights,
    `projection` (hidden_size, P) included, are zero until they are initialized or loaded.

    A subclass writes the recurrence alone: `create_recurrence`, `reset_recurrence` and `recur`.

    Args:
        input_size: Width of the inputs, at least 1.
        hidden_size: Width of the hidden state, at least 1.
        projection_size: P; None for no projection and P = `hidden_size`.
        proj_clip: Bound of the projected output; None for none. Ignored without a projection.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        projection_size: Optional[int] = None,
        proj_clip: Optional[float] = None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.cell_size = 0
        self.output_size = hidden_size if projection_size is None else projection_size
        self.proj_clip = None if projection_size is None else proj_clip
        self.projection = None if projection_size is None else nn.Parameter(torch.zeros(hidden_size, projection_size))
        self.create_recurrence()

    @classmethod
    @overrides
    def from_options(cls, options: LstmOptions) -> "HiddenStateLayer":
        return cls(options.projection_dim, options.dim, projection_size_of(options), options.proj_clip)

    def create_recurrence(self) -> None:
        """Set the weights of the recurrence, all zero, as attributes; the sizes are set."""
        raise NotImplementedError

    def reset_recurrence(self) -> None:
        """Draw the initial values of the weights of the recurrence."""
        raise NotImplementedError

    def recur(self, inputs: Tensor, batch_sizes: list[int], hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the hidden states of all steps, (N, hidden_size), and the last one of each row, (B, hidden_size).

        Args:
            inputs: Packed time-major, (N, input_size), in the type of the weights.
            batch_sizes: Rows that run at each step; at least one step, and B = batch_sizes[0].
            hidden: The hidden states before the first step, (B, hidden_size).
        """
        raise NotImplementedError

    @overrides
    def reset_parameters(self) -> None:
        self.reset_recurrence()
        if self.projection is not None:
            glorot_uniform_(self.projection)

    @overrides
    def forward(self, inputs: Tensor, batch_sizes: list[int], hidden: Tensor, cell: Tensor) -> RecurrentOutput:
        if not batch_sizes:
            return RecurrentOutput(inputs.new_zeros(0, self.output_size), hidden, cell)
        dtype, num_rows = common_dtype(self), batch_sizes[0]
        hidden = hidden.to(dtype)
        # In the parameters' type under autocast too, so that the state carried between windows is not rounded.
        with torch.autocast(inputs.device.type, enabled=False):
            outputs, last = self.recur(inputs.to(dtype), batch_sizes, hidden[:num_rows])
            if self.projection is not None:
                outputs = outputs @ self.projection
                if self.proj_clip is not None:
                    outputs = outputs.clamp(-self.proj_clip, self.proj_clip)
        return RecurrentOutput(outputs, torch.cat([last, hidden[num_rows:]]), cell)
