"""The LSTM with layer normalisation, compared with the equations of the paper for one vector at a time."""

import itertools

import pytest
import torch
from torch import Tensor

from allennlp_elmo_plus.modules.recurrent.lstm import LstmLayer
from allennlp_elmo_plus.modules.recurrent.lstm_layer_norm import LayerNormLstmLayer

INPUT, CELL, PROJECTION = 5, 7, 4
CELL_CLIP, PROJ_CLIP = 0.3, 0.2


def random_layer(projection: bool = True, clips: bool = True) -> LayerNormLstmLayer:
    layer = LayerNormLstmLayer(
        INPUT, CELL, PROJECTION if projection else None, *((CELL_CLIP, PROJ_CLIP) if clips else (None, None))
    ).double()
    generator = torch.Generator().manual_seed(1)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.double) * 0.6
    return layer


def draw(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.double).mul(0.2).requires_grad_()


def normalize(vector: Tensor) -> Tensor:
    mean = vector.sum() / len(vector)
    variance = ((vector - mean) ** 2).sum() / len(vector)
    return (vector - mean) / torch.sqrt(variance + 1e-5)


def paper_lstm(layer: LayerNormLstmLayer, inputs: Tensor, batch_sizes: list[int], hidden: Tensor, cell: Tensor):
    """Compute equations 20 to 22 of Ba et al. 2016, one vector at a time. Return the outputs and the last states."""
    input_kernel, hidden_kernel = layer.kernel[:INPUT], layer.kernel[INPUT:]
    steps, outputs, last_hidden, last_cell = inputs.split(batch_sizes), {}, [], []
    for row in range(len(hidden)):
        h, c = hidden[row], cell[row]
        for t, step in enumerate(steps):
            if row < len(step):
                sums = normalize(hidden_kernel.t() @ h) * layer.recurrent_gain
                sums = sums + normalize(input_kernel.t() @ step[row]) * layer.input_gain + layer.bias
                i, g, f, o = sums.split(CELL)
                c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(g)
                if layer.cell_clip is not None:
                    c = c.clamp(-layer.cell_clip, layer.cell_clip)
                h = torch.sigmoid(o) * torch.tanh(normalize(c) * layer.cell_gain + layer.cell_bias)
                if layer.projection is not None:
                    h = layer.projection.t() @ h
                    if layer.proj_clip is not None:
                        h = h.clamp(-layer.proj_clip, layer.proj_clip)
                outputs[t, row] = h
        last_hidden.append(h)
        last_cell.append(c)
    return torch.stack([outputs[key] for key in sorted(outputs)]), torch.stack(last_hidden), torch.stack(last_cell)


@pytest.mark.parametrize("batch_sizes, num_rows", [([4, 4, 4], 4), ([4, 3, 3, 1], 4), ([2, 2, 1], 5)])
@pytest.mark.parametrize("projection, clips", itertools.product([True, False], [True, False]))
def test_outputs_states_and_gradients_are_those_of_the_equations(
    projection: bool, clips: bool, batch_sizes: list[int], num_rows: int
) -> None:
    layer = random_layer(projection, clips)
    gradients = []
    results = []
    for lstm in (layer, lambda *arguments: paper_lstm(layer, *arguments)):
        layer.zero_grad()
        inputs, hidden, cell = (
            draw(sum(batch_sizes), INPUT),
            draw(num_rows, layer.output_size),
            draw(num_rows, CELL),
        )
        result = lstm(inputs, batch_sizes, hidden, cell)
        sum((tensor * draw(*tensor.shape).detach()).sum() for tensor in result).backward()
        results.append(result)
        gradients.append([tensor.grad.clone() for tensor in (inputs, hidden, cell, *layer.parameters())])
    for ours, theirs in zip([*results[0], *gradients[0]], [*results[1], *gradients[1]], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert all(gradient.abs().sum() > 0 for gradient in gradients[0])


def test_the_clips_are_active_in_these_tests() -> None:
    outputs, _, cell = random_layer()(draw(16, INPUT), [4] * 4, draw(4, PROJECTION), draw(4, CELL))
    assert (outputs.abs() == PROJ_CLIP).double().mean() > 0.2 and (cell.abs() == CELL_CLIP).double().mean() > 0.2


def test_both_directions_run_with_layer_normalisation() -> None:
    """LstmLayer.run_directions computes the directions in parallel, without normalisation."""
    layer = random_layer()
    arguments = [draw(8, INPUT)], [4, 4], [draw(4, PROJECTION)], [draw(4, CELL)]
    plain = LstmLayer(INPUT, CELL, PROJECTION, CELL_CLIP, PROJ_CLIP).double()
    plain.load_state_dict({name: value for name, value in layer.state_dict().items() if name in plain.state_dict()})
    (inputs,), batch_sizes, (hidden,), (cell,) = arguments
    ((outputs, *_),) = layer.run_directions([layer], *arguments)
    ((plain_outputs, *_),) = plain.run_directions([plain], *arguments)
    assert torch.equal(outputs, layer(inputs, batch_sizes, hidden, cell).outputs)
    assert (outputs - plain_outputs).abs().max() > 0.01


def test_the_scale_of_the_kernel_does_not_matter() -> None:
    layer = random_layer(clips=False)
    arguments = draw(8, INPUT), [4, 4], draw(4, PROJECTION), draw(4, CELL)
    with torch.no_grad():
        original = layer(*arguments).outputs
        layer.kernel.mul_(1000)
        scaled = layer(*arguments).outputs
        layer.kernel.mul_(7)
    # The 1e-5 that is added to the variance makes the small difference.
    torch.testing.assert_close(layer(*arguments).outputs, scaled, rtol=0, atol=1e-8)
    assert (original - scaled).abs().max() > 1e-8


def test_without_steps_the_outputs_are_empty_and_the_state_stays() -> None:
    layer = random_layer().float()
    hidden, cell = draw(3, PROJECTION).float(), draw(3, CELL).float()
    outputs, *state = layer(torch.zeros(0, INPUT), [], hidden, cell)
    assert outputs.shape == (0, PROJECTION) and torch.equal(state[0], hidden) and torch.equal(state[1], cell)


def test_autocast_does_not_round() -> None:
    layer = random_layer().float()
    hidden, cell = draw(3, PROJECTION).float(), draw(3, CELL).float()
    expected = layer(draw(6, INPUT).float(), [3, 3], hidden, cell)
    with torch.autocast("cpu", torch.bfloat16):
        for ours, theirs in zip(layer(draw(6, INPUT).float(), [3, 3], hidden, cell), expected, strict=True):
            assert torch.equal(ours, theirs)
