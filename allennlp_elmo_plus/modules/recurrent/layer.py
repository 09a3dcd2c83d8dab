"""What a biLM asks of a recurrent layer of one direction, whatever its cell."""

from collections.abc import Sequence
from typing import NamedTuple, Optional

from torch import Tensor, nn


class RecurrentOutput(NamedTuple):
    """What a layer computes over one window."""

    outputs: Tensor  # (N, P) in packed, time-major order
    hidden: Tensor  # (B, hidden_size) after each row's last step
    cell: Tensor  # (B, cell_size) after each row's last step


class RecurrentLayer(nn.Module):
    """A recurrent layer over packed rows, longest row first: `batch_sizes[t]` rows still run at step t, and rows that have ended keep
    their state. Nothing is computed for padding.

    input_size: width of the inputs; output_size: P, width of the outputs; hidden_size: width of what recurs; cell_size: width
    of the memory cell, 0 for a cell that has none, whose state then is a tensor of that width.
    """

    input_size: int
    output_size: int
    hidden_size: int
    cell_size: int

    def forward(self, inputs: Tensor, batch_sizes: list[int], hidden: Tensor, cell: Tensor) -> RecurrentOutput:
        """Inputs (N, input_size) packed time-major, N = sum(batch_sizes); batch_sizes: rows running at each step, never rising and at
        most B; hidden (B, hidden_size) and cell (B, cell_size): the state before the first step.
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
        """`forward` of the layers of each direction, which are of one kind and size."""
        return [layer(inputs[d], batch_sizes, hidden[d], cell[d]) for d, layer in enumerate(layers)]


def check_sizes(**sizes: Optional[int]) -> None:
    """Raises ValueError for a size, None where there is no such part, below 1."""
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ValueError(f"`{name}` must be at least 1, got {size}")


def check_clips(**clips: Optional[float]) -> None:
    """Raises ValueError for a clip that is not positive."""
    for name, clip in clips.items():
        if clip is not None and not clip > 0:
            raise ValueError(f"`{name}` must be positive, or None for no clip, got {clip}")
