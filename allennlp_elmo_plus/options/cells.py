"""The recurrent cells that options may name, as numbers; `modules.recurrent.cells` has the layer class of each."""

from collections.abc import Callable
from typing import NamedTuple


class CellFacts(NamedTuple):
    """The facts about a cell that are known without its layer class.

    Attributes:
        num_parameters: A function of `lstm.dim` and `lstm.projection_dim`. It returns the number of parameters of one layer of one
            direction, without its projection.
        saved_widths: The number of values that the forward pass saves for the backward pass per row and step, divided by `lstm.dim`,
            for the estimate of memory. Exact for the LSTM, whose backward pass is our own; estimated for cells that autograd
            differentiates.
        refused: Options of the section `lstm` that the cell does not have.
    """

    num_parameters: Callable[[int, int], int]
    saved_widths: int
    refused: tuple[str, ...] = ()


LAYER_NORM = "_layer_norm"

# The values of `lstm.cell`. A cell with the suffix `LAYER_NORM` is what `lstm.layer_norm` makes of the cell of that name.
CELLS = {
    "lstm": CellFacts(lambda dim, width: 4 * dim * (2 * width + 1), saved_widths=5),
    "lstm" + LAYER_NORM: CellFacts(lambda dim, width: 4 * dim * (2 * width + 1) + 10 * dim, saved_widths=17),
    # The hidden state, as wide as the cell, recurs; PyTorch keeps two biases.
    "gru": CellFacts(lambda dim, width: 3 * dim * (width + dim + 2), saved_widths=10, refused=("cell_clip",)),
    "rnn": CellFacts(lambda dim, width: dim * (width + dim + 2), saved_widths=3, refused=("cell_clip",)),
}
CELL_NAMES = tuple(name for name in CELLS if not name.endswith(LAYER_NORM))


def cells_that_take(option: str) -> list[str]:
    """Return the values of `lstm.cell` that allow `option`, a key of the section `lstm`."""
    if option == "layer_norm":
        return [name for name in CELL_NAMES if name + LAYER_NORM in CELLS]
    return [name for name in CELL_NAMES if option not in CELLS[name].refused]
