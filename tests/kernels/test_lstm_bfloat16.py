"""The LSTM layer on a CPU with its products in bfloat16, as autocast asks for them, against the same layer in float32."""

import pytest
import torch
from torch import Tensor

from allennlp_elmo_plus.kernels import backend
from allennlp_elmo_plus.modules.recurrent.layer import RecurrentOutput
from allennlp_elmo_plus.modules.recurrent.lstm import LstmLayer
from tests.helpers.bfloat16 import needs_bfloat16

pytestmark = needs_bfloat16

INPUT, CELL, PROJECTION = 32, 64, 32
CELL_CLIP, PROJ_CLIP = 0.25, 0.12  # active in a good part of the values; 0.12 is no bfloat16
FALLING, NUM_ROWS = [3, 2, 2], 4  # one row never runs, and one ends after the first step


def random_layer(projection: bool = True, clips: bool = False) -> LstmLayer:
    layer = LstmLayer(INPUT, CELL, PROJECTION if projection else None, *((CELL_CLIP, PROJ_CLIP) if clips else ()))
    generator = torch.Generator().manual_seed(1)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.15, generator=generator)
    return layer


def arguments(layer: LstmLayer) -> tuple[Tensor, list[int], Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    inputs, hidden, cell = (
        torch.randn(rows, size, generator=generator).mul_(scale).requires_grad_()
        for rows, size, scale in ((sum(FALLING), INPUT, 1.0), (NUM_ROWS, layer.output_size, 0.1), (NUM_ROWS, CELL, 0.2))
    )
    return inputs, FALLING, hidden, cell


def run_in_bfloat16(layer: LstmLayer, *given) -> RecurrentOutput:
    with torch.autocast("cpu", torch.bfloat16):
        return layer(*given)


def run_with_gradients(run, layer: LstmLayer) -> dict[str, Tensor]:
    given = arguments(layer)
    result = run(layer, *given)
    generator = torch.Generator().manual_seed(3)
    layer.zero_grad()
    sum((tensor * torch.randn(tensor.shape, generator=generator)).sum() for tensor in result).backward()
    leaves = {"inputs": given[0], "hidden": given[2], "cell": given[3], **dict(layer.named_parameters())}
    return {**result._asdict(), **{f"gradient of {name}": leaf.grad for name, leaf in leaves.items()}}


@pytest.mark.parametrize("in_one_loop", [True, False])
@pytest.mark.parametrize("projection", [True, False])
def test_results_and_gradients_come_near_those_of_float32(
    monkeypatch: pytest.MonkeyPatch, projection: bool, in_one_loop: bool
) -> None:
    """Within a share of each tensor's norm. Without clips: beside one, rounding turns whole gradients off, or on."""
    if not in_one_loop:
        monkeypatch.setitem(backend.TABLE, "lstm.loop", {})
    layer = random_layer(projection)
    expected = run_with_gradients(LstmLayer.__call__, layer)
    for name, ours in run_with_gradients(run_in_bfloat16, layer).items():
        assert ours.dtype == torch.float32, name
        assert 0 < (ours - expected[name]).norm() < 0.02 * expected[name].norm(), name


def test_the_cell_is_not_rounded_and_rows_that_never_ran_keep_their_state() -> None:
    layer = random_layer()
    inputs, batch_sizes, hidden, cell = arguments(layer)
    result = run_in_bfloat16(layer, inputs, batch_sizes, hidden, cell)
    assert not torch.equal(result.cell[:3], result.cell[:3].bfloat16().float())
    assert torch.equal(result.hidden[3], hidden[3]) and torch.equal(result.cell[3], cell[3])


def test_no_gradient_passes_a_clip_and_all_pass_beside_it() -> None:
    layer = random_layer(clips=True)
    inputs, _, hidden, cell = arguments(layer)
    result = run_in_bfloat16(layer, inputs[:3], [3], hidden[:3], cell[:3])
    (grad_cell,) = torch.autograd.grad(result.cell.sum(), cell, retain_graph=True)
    assert torch.equal(grad_cell[:3] == 0, result.cell.abs() == CELL_CLIP)
    (grad_projection,) = torch.autograd.grad(result.outputs[0].sum(), layer.projection)
    assert torch.equal((grad_projection == 0).all(0), result.outputs[0].abs() == torch.tensor(PROJ_CLIP))
    assert all(0.2 < (grad == 0).float().mean() < 0.8 for grad in (grad_cell[:3], grad_projection))


@pytest.mark.parametrize("projection", [True, False])
def test_without_gradients_the_same(projection: bool) -> None:
    layer = random_layer(projection, clips=True)
    given = arguments(layer)
    expected = run_in_bfloat16(layer, *given)
    with torch.no_grad():
        for ours, tensor in zip(run_in_bfloat16(layer, *given), expected):
            assert torch.equal(ours, tensor)


def test_sizes_that_do_not_fit_the_processors_instructions_are_multiplied_in_float32() -> None:
    layer = LstmLayer(6, 21, 11)
    layer.reset_parameters()
    given = torch.randn(3, 6), [3], torch.zeros(3, 11), torch.zeros(3, 21)
    for ours, tensor in zip(run_in_bfloat16(layer, *given), layer(*given)):
        assert torch.equal(ours, tensor)
