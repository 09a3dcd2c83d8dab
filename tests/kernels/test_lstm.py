"""The LSTM layer against AllenNLP's `ElmoLstm`, against the plain reference, and against itself cut into windows."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from allennlp_elmo_plus.modules.bilm import BiLM, BiLMState
from allennlp_elmo_plus.modules.recurrent.layer import RecurrentOutput
from allennlp_elmo_plus.modules.recurrent.lstm import LstmLayer
from tests.helpers.small_models import run_reference

INPUT, CELL, PROJECTION = 5, 7, 5
CELL_CLIP, PROJ_CLIP = 0.25, 0.12  # low enough that both are active in a good part of the values


def random_layer(input_size: int = INPUT, projection: bool = True, clips: bool = True) -> LstmLayer:
    layer = LstmLayer(
        input_size,
        CELL,
        PROJECTION if projection else None,
        CELL_CLIP if clips else None,
        PROJ_CLIP if clips else None,
    ).double()
    generator = torch.Generator().manual_seed(1)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.double) * 0.6
    return layer


def run_with_gradients(
    layer: LstmLayer, batch_sizes: list[int], num_rows: int, run: Callable[..., RecurrentOutput] = LstmLayer.__call__
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.double)

    inputs = draw(sum(batch_sizes), layer.input_size).requires_grad_()
    hidden, cell = (
        draw(num_rows, layer.output_size).mul(0.1).requires_grad_(),
        draw(num_rows, CELL).mul(0.2).requires_grad_(),
    )
    results = run(layer, inputs, batch_sizes, hidden, cell)
    sum((result * draw(*result.shape)).sum() for result in results).backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())
    return [*results, inputs.grad, hidden.grad, cell.grad, *(parameter.grad for parameter in layer.parameters())]


@pytest.mark.parametrize(
    "batch_sizes, num_rows", [([4, 4, 4, 4], 4), ([4, 3, 3, 1], 4), ([2, 2, 1], 5), ([3], 3), ([1, 1, 1, 1, 1], 1)]
)
@pytest.mark.parametrize("projection, clips", list(itertools.product([True, False], [True, False])))
def test_manual_backward_equals_autograd(batch_sizes: list[int], num_rows: int, projection: bool, clips: bool) -> None:
    manual = run_with_gradients(random_layer(projection=projection, clips=clips), batch_sizes, num_rows)
    plain = run_with_gradients(random_layer(projection=projection, clips=clips), batch_sizes, num_rows, run_reference)
    for ours, expected in zip(manual, plain):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)


def test_clips_are_active_in_these_tests() -> None:
    outputs, _, cell, *_ = run_with_gradients(random_layer(), [4, 4, 4, 4], 4)
    assert (outputs.abs() == PROJ_CLIP).double().mean() > 0.2
    assert (cell.abs() == CELL_CLIP).double().mean() > 0.2


@pytest.mark.parametrize("batch_sizes, num_rows", [([4, 4, 4], 4), ([3, 2, 1], 4)])
def test_without_gradients_the_same(batch_sizes: list[int], num_rows: int) -> None:
    layer = random_layer()
    expected = run_with_gradients(layer, batch_sizes, num_rows)[:3]
    with torch.no_grad():
        layer.requires_grad_(False)
        generator = torch.Generator().manual_seed(2)
        inputs, hidden, cell = (
            torch.randn(*shape, generator=generator, dtype=torch.double)
            for shape in ((sum(batch_sizes), INPUT), (num_rows, PROJECTION), (num_rows, CELL))
        )
        results = layer(inputs, batch_sizes, hidden * 0.1, cell * 0.2)
    for ours, theirs in zip(results, expected):
        assert torch.equal(ours, theirs)


def test_inputs_and_state_are_left_as_they_were() -> None:
    layer = random_layer()
    arguments = [torch.randn(6, INPUT).double(), torch.randn(3, PROJECTION).double(), torch.randn(3, CELL).double()]
    copies = [argument.clone() for argument in arguments]
    layer(arguments[0], [3, 2, 1], *arguments[1:])
    assert all(torch.equal(argument, copy) for argument, copy in zip(arguments, copies))


def test_double_backward_is_refused() -> None:
    layer = random_layer()
    inputs = torch.randn(3, INPUT, dtype=torch.double, requires_grad=True)
    outputs = layer(inputs, [3], torch.zeros(3, PROJECTION).double(), torch.zeros(3, CELL).double()).outputs
    (gradient,) = torch.autograd.grad(outputs.pow(2).sum(), inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((0, 4, 2), "`input_size` must be at least 1, got 0"),
        ((4, 0, 2), "`cell_size` must be at least 1, got 0"),
        ((4, 4, -2), "`projection_size` must be at least 1, got -2"),
        ((4, 4, 2, -1.0), "`cell_clip` must be positive, or None for no clip, got -1.0"),
        ((4, 4, 2, 3.0, 0.0), "`proj_clip` must be positive, or None for no clip, got 0.0"),
    ],
)
def test_bad_sizes(arguments, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        LstmLayer(*arguments)


def allennlp_twin(bilm: BiLM) -> torch.nn.Module:
    twin = pytest.importorskip("allennlp.modules.elmo_lstm").ElmoLstm(
        INPUT, PROJECTION, CELL, len(bilm.forward_layers), requires_grad=True,
        memory_cell_clip_value=CELL_CLIP, state_projection_clip_value=PROJ_CLIP,
    ).double()  # fmt: skip
    for ours, theirs in zip(
        [*bilm.forward_layers, *bilm.backward_layers], [*twin.forward_layers, *twin.backward_layers]
    ):
        input_gate, candidate, forget_gate, output_gate = ours.kernel.detach().chunk(4, dim=1)
        kernel = torch.cat([input_gate, forget_gate, candidate, output_gate], dim=1).t()
        bias = ours.bias.detach().view(4, CELL)[[0, 2, 1, 3]].clone()
        bias[1] += 1
        theirs.input_linearity.weight.data = kernel[:, : ours.input_size].clone()
        theirs.state_linearity.weight.data = kernel[:, ours.input_size :].clone()
        theirs.state_linearity.bias.data = bias.view(-1)
        theirs.state_projection.weight.data = ours.projection.detach().t().clone()
    return twin


def test_equals_allennlp_with_carried_state_and_active_clips() -> None:
    """Three calls on sentences of different lengths, state carried; outputs and every gradient."""
    bilm = BiLM([random_layer() for _ in range(2)], [random_layer() for _ in range(2)])
    with torch.no_grad():
        for layer in bilm.backward_layers:
            layer.kernel.neg_()
    twin = allennlp_twin(bilm)
    generator = torch.Generator().manual_seed(3)
    state = None
    for lengths in ([6, 4, 4, 2], [3, 3, 2, 1], [7, 5, 1, 1]):
        steps = lengths[0]
        inputs = torch.randn(len(lengths), steps, INPUT, generator=generator, dtype=torch.double, requires_grad=True)
        mask = torch.arange(steps) < torch.tensor(lengths).unsqueeze(1)
        expected = twin(inputs, mask)
        own_inputs = inputs.detach().clone().requires_grad_()
        # In its own reading order the backward direction meets a row's last word first.
        reverse = [list(range(length))[::-1] + list(range(length, steps)) for length in lengths]
        backward_rows = torch.stack([own_inputs[row, order] for row, order in enumerate(reverse)])
        batch_sizes = mask.sum(0).tolist()
        output = bilm(own_inputs.transpose(0, 1)[mask.t()], backward_rows.transpose(0, 1)[mask.t()], batch_sizes, state)
        state = output.state.detach()
        assert output.backward is not None
        for layer in range(2):
            forward = torch.zeros(steps, len(lengths), PROJECTION, dtype=torch.double)
            backward = torch.zeros_like(forward)
            forward[mask.t()], backward[mask.t()] = output.forward[layer], output.backward[layer]
            backward = torch.stack([backward[order, row] for row, order in enumerate(reverse)])
            ours = torch.cat([forward.transpose(0, 1), backward], dim=-1)
            torch.testing.assert_close(ours, expected[layer], rtol=0, atol=1e-12)
        upstream = torch.randn(expected.shape, generator=generator, dtype=torch.double)
        expected.mul(upstream).sum().backward()
        (
            sum(
                (packed * weight.transpose(0, 1)[mask.t()]).sum()
                for packed, weight in zip(output.forward, upstream[..., :PROJECTION])
            )
            + sum(
                (
                    packed
                    * torch.stack([weight[row, order] for row, order in enumerate(reverse)]).transpose(0, 1)[mask.t()]
                ).sum()
                for packed, weight in zip(output.backward, upstream[..., PROJECTION:])
            )
        ).backward()
        torch.testing.assert_close(own_inputs.grad, inputs.grad, rtol=0, atol=1e-12)
    for ours, theirs in zip(
        [*bilm.forward_layers, *bilm.backward_layers], [*twin.forward_layers, *twin.backward_layers]
    ):
        grad = torch.cat([theirs.input_linearity.weight.grad, theirs.state_linearity.weight.grad], dim=1)
        input_gate, forget_gate, candidate, output_gate = grad.t().chunk(4, dim=1)
        expected_kernel = torch.cat([input_gate, candidate, forget_gate, output_gate], dim=1)
        torch.testing.assert_close(ours.kernel.grad, expected_kernel, rtol=0, atol=1e-12)
        bias_grad = theirs.state_linearity.bias.grad.view(4, CELL)[[0, 2, 1, 3]].view(-1)
        torch.testing.assert_close(ours.bias.grad, bias_grad, rtol=0, atol=1e-12)
        torch.testing.assert_close(ours.projection.grad, theirs.state_projection.weight.grad.t(), rtol=0, atol=1e-12)


def test_carried_windows_equal_one_long_sequence() -> None:
    bilm = BiLM([random_layer() for _ in range(2)], [random_layer() for _ in range(2)])
    generator = torch.Generator().manual_seed(4)
    rows, steps = 3, 12
    forward, backward = (torch.randn(steps * rows, INPUT, generator=generator, dtype=torch.double) for _ in range(2))
    whole = bilm(forward, backward, [rows] * steps)
    pieces, state = [], None
    for start, end in ((0, 5), (5, 6), (6, 12)):
        window = slice(start * rows, end * rows)
        pieces.append(bilm(forward[window], backward[window], [rows] * (end - start), state))
        state = pieces[-1].state
    for layer in range(2):
        torch.testing.assert_close(
            torch.cat([piece.forward[layer] for piece in pieces]), whole.forward[layer], rtol=0, atol=1e-12
        )
        torch.testing.assert_close(
            torch.cat([piece.backward[layer] for piece in pieces]), whole.backward[layer], rtol=0, atol=1e-12
        )
    torch.testing.assert_close(tuple(pieces[-1].state), tuple(whole.state), rtol=0, atol=1e-12)


def test_dropped_input_is_what_the_skip_connection_adds() -> None:
    """With the second layer's weights at 0 its output is the residual alone: the dropped, rescaled output of the first."""
    bilm = BiLM([random_layer() for _ in range(2)], [], dropout_prob=0.5)
    with torch.no_grad():
        for parameter in bilm.forward_layers[1].parameters():
            parameter.zero_()
    output = bilm(torch.randn(40, INPUT, dtype=torch.double), None, [4] * 10)
    first, second = output.forward
    dropped = second == 0
    assert 0.3 < dropped.double().mean() < 0.7
    torch.testing.assert_close(second[~dropped], 2 * first[~dropped])
    assert output.backward is None and output.state.hidden.shape[0] == 1


def test_rows_that_never_ran_keep_their_state() -> None:
    bilm = BiLM([random_layer()], [random_layer()])
    state = BiLMState(torch.randn(2, 1, 4, PROJECTION).double(), torch.randn(2, 1, 4, CELL).double())
    inputs = torch.randn(3, INPUT, dtype=torch.double)
    after = bilm(inputs, inputs, [2, 1], state).state
    assert torch.equal(after.hidden[:, :, 2:], state.hidden[:, :, 2:]) and torch.equal(
        after.cell[:, :, 2:], state.cell[:, :, 2:]
    )
    assert not torch.equal(after.hidden[:, :, :2], state.hidden[:, :, :2])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: BiLM([], []), "`forward_layers` must hold at least 1 layer, got none"),
        (
            lambda: BiLM([random_layer()] * 2, [random_layer()]),
            "`backward_layers` must hold 2 layers or none, got 1",
        ),
        (
            lambda: BiLM([random_layer()], [], dropout_prob=1.0),
            "`dropout_prob` must be at least 0 and below 1, got 1.0",
        ),
    ],
)
def test_bad_stacks(make, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        make()


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"inputs": (8, 31)}, r"`inputs` must be \(8, 32\), got \(8, 31\)"),
        ({"inputs": (9, 32)}, r"`inputs` must be \(8, 32\), got \(9, 32\)"),
        ({"hidden": (4, 64)}, r"`hidden` must be \(4, 32\), got \(4, 64\)"),
        ({"hidden": (5, 32)}, r"`hidden` must be \(4, 32\), got \(5, 32\)"),
        ({"cell": (4, 16)}, r"`cell` must be \(4, 64\), got \(4, 16\)"),
        ({"hidden": (3, 32), "cell": (3, 64)}, "`batch_sizes` must be at most 3, the rows of `cell`, got 4"),
    ],
)
def test_tensors_of_other_sizes_are_refused(changed: dict[str, tuple[int, int]], message: str) -> None:
    shapes = {"inputs": (8, 32), "hidden": (4, 32), "cell": (4, 64), **changed}
    with pytest.raises(ValueError, match=f"^{message}$"):
        LstmLayer(32, 64, 32)(batch_sizes=[4, 4], **{name: torch.zeros(shape) for name, shape in shapes.items()})
