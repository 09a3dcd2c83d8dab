"""The stack of LSTM layers against AllenNLP's `ElmoLstm`, and against itself cut into windows."""

import pytest
import torch

from allennlp_elmo_plus.modules.bilm import BiLM, BiLMState
from allennlp_elmo_plus.modules.recurrent.lstm import LstmLayer

INPUT, CELL, PROJECTION = 5, 7, 5
CELL_CLIP, PROJ_CLIP = 0.25, 0.12  # low enough that both are active in a good part of the values


def random_layer() -> LstmLayer:
    layer = LstmLayer(INPUT, CELL, PROJECTION, CELL_CLIP, PROJ_CLIP).double()
    generator = torch.Generator().manual_seed(1)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.double) * 0.6
    return layer


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
