"""The interface between a biLM and a recurrent layer of one direction, whatever its cell."""

from collections.abc import Sequence
from typing import NamedTuple, Optional

from torch import Tensor, nn

from allennlp_elmo_plus.options.bilm_options import LstmOptions


class RecurrentOutput(NamedTuple):
    """The result of a layer over one window."""

    outputs: Tensor  # (N, P) in packed, time-major order
    hidden: Tensor  # (B, hidden_size) after each row's last step
    cell: Tensor  # (B, cell_size) after each row's last step


class RecurrentLayer(nn.Module):
    """A recurrent layer over packed rows, longest row first.

    `batch_sizes[t]` rows run at step t, and rows that have ended keep their state. Nothing is computed for padding.

    Attributes:
        input_size: Width of the inputs.
        output_size: P, width of the outputs.
        hidden_size: Width of the hidden state that recurs.
        cell_size: Width of the memory cell. It is 0 for a layer without one; its `cell` is then a tensor (B, 0).
    """

    input_size: int
    output_size: int
    hidden_size: int
    cell_size: int

    @classmethod
    def from_options(cls, options: LstmOptions) -> "RecurrentLayer":
        """Return a layer of one direction with these options, its weights zero."""
        raise NotImplementedError

    def reset_parameters(self) -> None:
        """Draw the initial values of all weights."""
        raise NotImplementedError

    def forward(self, inputs: Tensor, batch_sizes: list[int], hidden: Tensor, cell: Tensor) -> RecurrentOutput:
        """Return the outputs of all steps, and the state after the last one.

        Args:
            inputs: Packed time-major, (N, input_size) with N = sum(batch_sizes).
            batch_sizes: Rows that run at each step, never rising and at most B.
            hidden: The hidden state before the first step, (B, hidden_size).
            cell: The memory cell before the first step, (B, cell_size).
        """
        raise NotImplementedError

    @staticmethod
    def run_directions(
        layers: Sequence["RecurrentLayer"],
        inputs: Sequence[Tensor],
        batch_sizes: list[int],
        hidden: Sequence[Tensor],
        cell: Sequence[Tensor],
    ) -> list[RecurrentOutput]:
        """Return the result of `forward` of the layer of each direction. The layers are of one class and size."""
        return [layer(inputs[d], batch_sizes, hidden[d], cell[d]) for d, layer in enumerate(layers)]


def projection_size_of(options: LstmOptions) -> Optional[int]:
    """Return P, or None where these options have no projection."""
    return options.projection_dim if options.has_projection else None
