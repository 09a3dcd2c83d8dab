"""The GRU and RNN layers, compared with PyTorch's cells applied step by step to each row."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from allennlp_elmo_plus.modules.recurrent.gru_rnn import GruLayer, RnnLayer
from allennlp_elmo_plus.modules.recurrent.layer import RecurrentLayer

INPUT, HIDDEN, PROJECTION, PROJ_CLIP = 5, 7, 4, 0.3
LAYERS = {"gru": (GruLayer, nn.GRUCell), "rnn": (RnnLayer, nn.RNNCell)}
kinds = pytest.mark.parametrize("kind", LAYERS)


def random_layer(kind: str, projection: bool = True, clip: bool = True) -> RecurrentLayer:
    layer = LAYERS[kind][0](INPUT, HIDDEN, PROJECTION if projection else None, PROJ_CLIP if clip else None).double()
    generator = torch.Generator().manual_seed(1)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.double) * 0.6
    return layer


def draw(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.double).mul(0.5).requires_grad_()


def step_by_step(kind: str, layer: RecurrentLayer, inputs: Tensor, batch_sizes: list[int], hidden: Tensor):
    """Return the outputs, the last states, and PyTorch's cell, which has the weights of `layer`."""
    cell = LAYERS[kind][1](INPUT, HIDDEN).double()
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.recurrence.state_dict().items()})
    steps, outputs, last = inputs.split(batch_sizes), {}, []
    for row in range(len(hidden)):
        state = hidden[row : row + 1]
        for t, step in enumerate(steps):
            if row < len(step):
                state = cell(step[row : row + 1], state)
                output = state
                if layer.projection is not None:
                    output = state @ layer.projection
                    if layer.proj_clip is not None:
                        output = output.clamp(-layer.proj_clip, layer.proj_clip)
                outputs[t, row] = output
        last.append(state)
    return torch.cat([outputs[key] for key in sorted(outputs)]), torch.cat(last), cell


@pytest.mark.parametrize("batch_sizes, num_rows", [([4, 4, 4], 4), ([4, 3, 3, 1], 4), ([2, 2, 1], 5), ([3], 3)])
@pytest.mark.parametrize("projection, clip", itertools.product([True, False], [True, False]))
@kinds
def test_outputs_states_and_gradients_are_those_of_pytorchs_cell(
    kind: str, projection: bool, clip: bool, batch_sizes: list[int], num_rows: int
) -> None:
    layer = random_layer(kind, projection, clip)
    inputs, hidden = draw(sum(batch_sizes), INPUT), draw(num_rows, HIDDEN)
    outputs, last, no_cell = layer(inputs, batch_sizes, hidden, torch.zeros(num_rows, 0).double())
    weights = [draw(*outputs.shape).detach(), draw(*last.shape).detach()]
    ((outputs * weights[0]).sum() + (last * weights[1]).sum()).backward()
    ours = [inputs.grad, hidden.grad, *(parameter.grad for parameter in layer.recurrence.parameters())]
    our_projection = layer.projection.grad if projection else None

    inputs, hidden = draw(sum(batch_sizes), INPUT), draw(num_rows, HIDDEN)
    layer.zero_grad()
    expected, expected_last, cell = step_by_step(kind, layer, inputs, batch_sizes, hidden)
    ((expected * weights[0]).sum() + (expected_last * weights[1]).sum()).backward()
    theirs = [inputs.grad, hidden.grad, *(parameter.grad for parameter in cell.parameters())]
    torch.testing.assert_close([outputs, last, *ours], [expected, expected_last, *theirs], rtol=0, atol=1e-12)
    if projection:
        torch.testing.assert_close(our_projection, layer.projection.grad, rtol=0, atol=1e-12)
    assert no_cell.shape == (num_rows, 0) and layer.cell_size == 0


@kinds
def test_the_clip_is_active_in_these_tests(kind: str) -> None:
    outputs = random_layer(kind)(draw(16, INPUT), [4] * 4, draw(4, HIDDEN), torch.zeros(4, 0)).outputs
    assert 0.2 < (outputs.abs() == PROJ_CLIP).double().mean() < 0.9


@kinds
def test_without_steps_the_outputs_are_empty_and_the_state_stays(kind: str) -> None:
    hidden = draw(3, HIDDEN)
    outputs, last, cell = random_layer(kind)(torch.zeros(0, INPUT).double(), [], hidden, torch.zeros(3, 0).double())
    assert outputs.shape == (0, PROJECTION) and torch.equal(last, hidden) and cell.shape == (3, 0)


@kinds
def test_autocast_does_not_round_the_state(kind: str) -> None:
    layer = random_layer(kind).float()
    inputs, hidden = draw(8, INPUT).float(), draw(4, HIDDEN).float()
    expected = layer(inputs, [4, 4], hidden, torch.zeros(4, 0))
    with torch.autocast("cpu", torch.bfloat16):
        results = layer(inputs, [4, 4], hidden, torch.zeros(4, 0))
    for ours, theirs in zip(results, expected, strict=True):
        assert ours.dtype == torch.float32 and torch.equal(ours, theirs)


@kinds
def test_weights_start_at_zero(kind: str) -> None:
    layer = LAYERS[kind][0](INPUT, HIDDEN, PROJECTION)
    assert all((parameter == 0).all() for parameter in layer.parameters())
