"""The two tables of cells: numbers of each cell for the options, layer classes for the builder."""

import pytest
import torch

from allennlp_elmo_plus.modules.recurrent.cells import CELLS
from allennlp_elmo_plus.modules.recurrent.layer import RecurrentLayer
from allennlp_elmo_plus.options import cells
from allennlp_elmo_plus.options.bilm_options import LstmOptions

# The largest ratio of the measured number of saved vectors and the number in the table, in either direction.
MAX_RATIO = 1.1


def options_of(key: str, dim: int, projection_dim: int) -> LstmOptions:
    name = key.removesuffix(cells.LAYER_NORM)
    return LstmOptions(dim, projection_dim, proj_clip=0.5, cell=name, layer_norm=name != key)


def bytes_saved_for_backward(layer: RecurrentLayer, num_rows: int, num_steps: int) -> int:
    """Return the size of the tensors that `layer` saves in a forward pass, without its parameters and its input."""
    inputs = torch.randn(num_rows * num_steps, layer.input_size, requires_grad=True)
    state = torch.zeros(num_rows, layer.hidden_size), torch.zeros(num_rows, layer.cell_size)
    # By address. The tensors stay referenced, so that no address is used twice.
    saved: dict[int, torch.Tensor] = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: saved.setdefault(tensor.untyped_storage().data_ptr(), tensor), lambda tensor: tensor
    ):
        layer(inputs, [num_rows] * num_steps, *state)
    ours = {tensor.data_ptr() for tensor in (inputs, *layer.parameters())}
    return sum(tensor.untyped_storage().nbytes() for address, tensor in saved.items() if address not in ours)


def test_both_tables_have_the_same_cells() -> None:
    assert list(CELLS) == list(cells.CELLS)


def test_the_options_of_each_cell_build_its_layer_with_the_right_sizes() -> None:
    for key, layer_class in CELLS.items():
        options = options_of(key, 7, 4)
        assert options.cell_key == key
        layer = layer_class.from_options(options)
        assert (layer.input_size, layer.output_size, layer.hidden_size) == (4, 4, 4 if "lstm" in key else 7)
        outputs = layer(torch.ones(3, 4), [2, 1], torch.zeros(2, layer.hidden_size), torch.zeros(2, layer.cell_size))
        assert outputs.outputs.shape == (3, 4)


@pytest.mark.parametrize("key", CELLS)
def test_a_layer_saves_as_many_vectors_as_the_table_says(key: str) -> None:
    dim, num_rows, num_steps = 64, 8, 40
    # With the smallest projection, the output hardly counts. Its input is one vector.
    layer = CELLS[key].from_options(options_of(key, dim, projection_dim=1))
    layer.reset_parameters()
    vector = num_rows * num_steps * dim * 4
    measured = bytes_saved_for_backward(layer, num_rows, num_steps) / vector - 1
    assert cells.CELLS[key].saved_widths / MAX_RATIO < measured < cells.CELLS[key].saved_widths * MAX_RATIO


def test_cells_that_take_an_option_are_listed() -> None:
    assert cells.cells_that_take("cell_clip") == cells.cells_that_take("layer_norm") == ["lstm"]
    assert cells.cells_that_take("proj_clip") == list(cells.CELL_NAMES)
