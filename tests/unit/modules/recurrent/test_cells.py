"""The two tables of cells: numbers of each cell for the options, layer classes for the builder."""

import torch

from allennlp_elmo_plus.modules.recurrent.cells import CELLS
from allennlp_elmo_plus.options import cells
from allennlp_elmo_plus.options.bilm_options import LstmOptions


def test_both_tables_have_the_same_cells() -> None:
    assert list(CELLS) == list(cells.CELLS)


def test_the_options_of_each_cell_build_its_layer_with_the_right_sizes() -> None:
    for key, layer_class in CELLS.items():
        name = key.removesuffix(cells.LAYER_NORM)
        options = LstmOptions(7, 4, proj_clip=0.5, cell=name, layer_norm=name != key)
        assert options.cell_key == key
        layer = layer_class.from_options(options)
        assert (layer.input_size, layer.output_size, layer.hidden_size) == (4, 4, 4 if "lstm" in key else 7)
        outputs = layer(torch.ones(3, 4), [2, 1], torch.zeros(2, layer.hidden_size), torch.zeros(2, layer.cell_size))
        assert outputs.outputs.shape == (3, 4)


def test_cells_that_take_an_option_are_listed() -> None:
    assert cells.cells_that_take("cell_clip") == cells.cells_that_take("layer_norm") == ["lstm"]
    assert cells.cells_that_take("proj_clip") == list(cells.CELL_NAMES)
