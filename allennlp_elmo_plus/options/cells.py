"""The recurrent cells that options may name, as numbers; `modules.recurrent.cells` has the layer class of each."""

from collections.abc import Callable
from typing import NamedTuple


class CellFacts(NamedTuple):
    """The facts about a cell that are known without its layer class.

    Attributes:
        num_parameters: A function of `lstm.dim` and `lstm.projection_dim`. It returns the number of parameters of one layer of one
            direction, without its projection.
        saved_widths: How many vectors of `lstm.dim` numbers a layer's forward pass saves for the backward pass, per row and step, on a
            CPU: for the LSTM the four gates and the cell. The input and the output of the layer and the input of its projection do not
            count. The estimate of memory uses this number; `tests/unit/modules/recurrent/test_cells.py` measures it for each cell.
        refused: Options of the section `lstm` that the cell does not have.
    """

    num_parameters: Callable[[int, int], int]
    saved_widths: int
    refused: tuple[str, ...] = ()


LAYER_NORM = "_layer_norm"

# The values of `lstm.cell`. A cell with the suffix `LAYER_NORM` is what `lstm.layer_norm` makes of the cell of that name.
CELLS = {
    "lstm": CellFacts(lambda dim, width: 4 * dim * (2 * width + 1), saved_widths=5),
    "lstm" + LAYER_NORM: CellFacts(lambda dim, width: 4 * dim * (2 * width + 1) + 10 * dim, saved_widths=15),
    # The hidden state, as wide as the cell, recurs; PyTorch keeps two biases.
    "gru": CellFacts(lambda dim, width: 3 * dim * (width + dim + 2), saved_widths=7, refused=("cell_clip",)),
    "rnn": CellFacts(lambda dim, width: dim * (width + dim + 2), saved_widths=1, refused=("cell_clip",)),
}
CELL_NAMES = tuple(name for name in CELLS if not name.endswith(LAYER_NORM))


def cells_that_take(option: str) -> list[str]:
    """Return the values of `lstm.cell` that allow `option`, a key of the section `lstm`."""
    if option == "layer_norm":
        return [name for name in CELL_NAMES if name + LAYER_NORM in CELLS]
    return [name for name in CELL_NAMES if option not in CELLS[name].refused]
