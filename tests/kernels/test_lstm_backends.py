"""The compiled loops against double precision, and against PyTorch's operations where numba is missing."""

from types import ModuleType
from typing import Any, NamedTuple, Optional

import pytest
import torch
from torch import Tensor

from allennlp_elmo_plus.data.text.characters import encode_words
from allennlp_elmo_plus.kernels import backend as compiled
from allennlp_elmo_plus.kernels.backend import loops_for
from allennlp_elmo_plus.kernels.jit import jit
from allennlp_elmo_plus.kernels.lstm import clipped_lstm as lstm_bptt
from allennlp_elmo_plus.kernels.lstm import steps as lstm_steps
from allennlp_elmo_plus.kernels.lstm import window as lstm_window
from allennlp_elmo_plus.modules.char_cnn import CharacterCNN
from allennlp_elmo_plus.modules.recurrent.lstm import LstmLayer

WORDS = ["a", "an", "ant", "banana", "bananas", "bandanna", "extraordinarily-long", "é", "", "b"]


@pytest.fixture
def without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_load", lambda module: None)


class Sizes(NamedTuple):
    inputs: int
    cells: int
    projection: int
    scale: float  # of weights


SMALL = Sizes(5, 37, 6, 0.4)
# Cells of two blocks of the compiled loop, the second one not whole.
LARGE = Sizes(32, 300, 40, 0.1)
# Where all gradients fill panels.
WHOLE = Sizes(32, 264, 64, 0.1)


def lstm_run(
    dtype: torch.dtype,
    projection: bool,
    clips: bool,
    batch_sizes: list[int],
    scale: float = 1.0,
    sizes: Sizes = SMALL,
) -> list[Tensor]:
    """Outputs, states and every gradient of a layer in which, with `clips`, a good part of the values is clipped."""
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.double).to(dtype)

    projection_size = sizes.projection if projection else None
    layer = LstmLayer(sizes.inputs, sizes.cells, projection_size, 0.5 if clips else None, 0.3 if clips else None)
    for parameter in layer.to(dtype).parameters():
        parameter.data = draw(*parameter.shape) * sizes.scale
    rows = batch_sizes[0]
    inputs = (scale * draw(sum(batch_sizes), sizes.inputs)).requires_grad_()
    hidden, cell = draw(rows, layer.output_size).requires_grad_(), draw(rows, sizes.cells).requires_grad_()
    results = layer(inputs, batch_sizes, hidden, cell)
    sum((result * draw(*result.shape)).sum() for result in results).backward()
    with torch.no_grad():
        without_gradients = layer(inputs, batch_sizes, hidden, cell)
    for ours, kept in zip(without_gradients, results):
        assert torch.equal(ours, kept)
    return [*results, inputs.grad, hidden.grad, cell.grad, *(parameter.grad for parameter in layer.parameters())]


@pytest.mark.parametrize("in_one_loop", [True, False])
@pytest.mark.parametrize(
    "sizes, batch_sizes",
    [(SMALL, [4] * 5), (SMALL, [4, 3, 3, 1]), (LARGE, [9, 9, 8, 2]), (LARGE, [3, 1]), (WHOLE, [9, 9, 8, 2])],
)
@pytest.mark.parametrize("projection, clips", [(True, True), (True, False), (False, True)])
def test_lstm_follows_double_precision(
    monkeypatch: pytest.MonkeyPatch,
    projection: bool,
    clips: bool,
    sizes: Sizes,
    batch_sizes: list[int],
    in_one_loop: bool,
) -> None:
    """All steps in one compiled loop, and the element-wise part of each."""
    used: list[ModuleType] = []
    real = lstm_window._window_loops

    def window_loops(*given: Any) -> Optional[ModuleType]:
        loops = real(*given) if in_one_loop else None
        used.extend([] if loops is None else [loops])
        return loops

    monkeypatch.setattr(lstm_window, "_window_loops", window_loops)
    assert loops_for(torch.zeros(1), "lstm._numba_pointwise") is not None
    expected = lstm_run(torch.double, projection, clips, batch_sizes, sizes=sizes)
    assert not used
    ours = lstm_run(torch.float, projection, clips, batch_sizes, sizes=sizes)
    # With gradients, back, and without.
    assert len(used) == (3 if in_one_loop else 0)
    for found, wanted in zip(ours, expected, strict=True):
        assert found.dtype == torch.float
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("trained", ["kernel", "bias", "projection"])
def test_one_loop_gives_the_gradients_that_are_wanted_and_no_others(trained: str) -> None:
    generator = torch.Generator().manual_seed(5)
    layer = LstmLayer(WHOLE.inputs, WHOLE.cells, WHOLE.projection)
    for parameter in layer.parameters():
        parameter.data = WHOLE.scale * torch.randn(parameter.shape, generator=generator)
    given = (torch.randn(18, 32, generator=generator), [9, 9], torch.zeros(9, 64), torch.zeros(9, 264))
    layer(*given).outputs.square().sum().backward()
    expected = layer.get_parameter(trained).grad
    layer.zero_grad()
    layer.requires_grad_(False).get_parameter(trained).requires_grad_(True)
    layer(*given).outputs.square().sum().backward()
    assert {name for name, each in layer.named_parameters() if each.grad is not None} == {trained}
    assert torch.equal(layer.get_parameter(trained).grad, expected)


def test_gradients_of_many_rows_are_summed_in_parts() -> None:
    from allennlp_elmo_plus.kernels.lstm._numba_kernels import ROWS

    batch_sizes = [ROWS // 2 + 4, ROWS // 2 + 4, ROWS // 2 - 6, 3]

    def gradients(dtype: torch.dtype) -> list[Tensor]:
        generator = torch.Generator().manual_seed(6)
        layer = LstmLayer(WHOLE.inputs, WHOLE.cells, WHOLE.projection).to(dtype)
        for parameter in layer.parameters():
            parameter.data = WHOLE.scale * torch.randn(parameter.shape, generator=generator).to(dtype)
        states = (torch.zeros(batch_sizes[0], size, dtype=dtype) for size in (WHOLE.projection, WHOLE.cells))
        inputs = torch.randn(sum(batch_sizes), WHOLE.inputs, generator=generator).to(dtype)
        layer(inputs, batch_sizes, *states).outputs.square().mean().backward()
        return [parameter.grad for parameter in layer.parameters()]

    for ours, expected in zip(gradients(torch.float), gradients(torch.double), strict=True):
        torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_inputs_may_lie_in_memory_as_they_like() -> None:
    layer = LstmLayer(WHOLE.inputs, WHOLE.cells, WHOLE.projection)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    inputs, states = torch.randn(27, 32), (torch.zeros(9, 64), torch.zeros(9, 264))

    def gradients(given: Tensor) -> list[Tensor]:
        layer.zero_grad()
        layer(given, [9, 9, 9], *states).outputs.square().sum().backward()
        return [parameter.grad for parameter in layer.parameters()]

    for one, other in zip(gradients(inputs), gradients(inputs.t().contiguous().t()), strict=True):
        assert torch.equal(one, other)


def test_lstm_is_the_same_without_numba(without_numba: None) -> None:
    assert loops_for(torch.zeros(1), "lstm._numba_pointwise") is None
    expected = lstm_run(torch.double, True, True, [4, 3, 2])
    for ours, theirs in zip(lstm_run(torch.float, True, True, [4, 3, 2]), expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)


def test_gates_far_from_zero_saturate() -> None:
    expected = lstm_run(torch.double, True, False, [4, 4], scale=500.0)
    for ours, theirs in zip(lstm_run(torch.float, True, False, [4, 4], scale=500.0), expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4)


def test_small_cells_keep_their_digits() -> None:
    """A tanh computed by a difference alone would give 0 or a power of two here."""
    layer = LstmLayer(1, 8)
    cell = torch.logspace(-9, -1, 8).unsqueeze(0)
    output = layer(torch.zeros(1, 1), [1], torch.zeros(1, 8), cell).outputs
    kept = torch.sigmoid(torch.tensor(1.0, dtype=torch.double)) * cell.double()
    torch.testing.assert_close(output.double(), 0.5 * kept.tanh(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_a_number_is_seen_to(value: float) -> None:
    layer = LstmLayer(2, 20, 3, cell_clip=1.0, proj_clip=1.0)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    inputs = torch.zeros(3, 2)
    inputs[1] = value
    result = layer(inputs, [1, 1, 1], torch.zeros(1, 3), torch.zeros(1, 20))
    assert not result.outputs[0].isnan().any()
    assert result.outputs[1:].isnan().all()


def cnn_run(dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(4)
    cnn = CharacterCNN(3, [[1, 5], [2, 19], [4, 7]], "tanh", 20).to(dtype)
    for parameter in cnn.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.double).to(dtype)
    outputs = cnn(torch.from_numpy(encode_words(WORDS, 20)))
    (outputs * torch.randn(outputs.shape, generator=generator, dtype=torch.double).to(dtype)).sum().backward()
    with torch.no_grad():
        assert torch.equal(cnn(torch.from_numpy(encode_words(WORDS, 20))), outputs)
    return [outputs, *(parameter.grad for parameter in cnn.parameters())]


def assert_near_double(found: list[Tensor], expected: list[Tensor]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)


def test_convolutions_follow_double_precision() -> None:
    assert_near_double(cnn_run(torch.float), cnn_run(torch.double))


def test_convolutions_are_the_same_without_numba(without_numba: None) -> None:
    assert_near_double(cnn_run(torch.float), cnn_run(torch.double))


def test_a_response_that_is_not_a_number_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    cnn = CharacterCNN(1, [[1, 16]], "relu", 10)
    # "b" holds a character that no other word holds.
    cnn.embedding.data.fill_(1.0)[ord("x")] = float("nan")
    cnn.weights[0].data.fill_(1.0)
    outputs = cnn(torch.from_numpy(encode_words(["ax", "xa", "aa"], 10)))
    assert outputs[:2].isnan().all() and not outputs[2].isnan().any()


def test_loops_are_for_one_machine_with_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loops_for(torch.zeros(1, dtype=torch.double), "lstm._numba_pointwise") is None
    assert loops_for(torch.zeros(1, device="meta"), "lstm._numba_pointwise") is None
    monkeypatch.setattr(torch, "get_num_threads", lambda: compiled.MAX_THREADS + 1)
    assert loops_for(torch.zeros(1), "lstm._numba_pointwise") is None


def test_loops_are_compiled_anew_where_they_cannot_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    real, asked = numba.njit, []

    def njit(**options: Any) -> Any:
        asked.append(options.get("cache", False))
        if asked[-1]:
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(numba, "njit", njit)
    assert jit(lambda x: x + 1)(1) == 2
    assert asked == [True, False]


def test_without_gradients_nothing_is_kept_though_parameters_want_them() -> None:
    layer = LstmLayer(3, 5)
    arguments = torch.zeros(2, 3), [1, 1], torch.zeros(1, 5), torch.zeros(1, 5)
    assert layer(*arguments).outputs.grad_fn is not None
    kept: list[bool] = []
    real = lstm_bptt._forward

    def spy(*given: Any) -> Any:
        kept.append(given[-1])
        return real(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lstm_bptt, "_forward", spy)
        layer(*arguments)
        with torch.no_grad():
            layer(*arguments)
    assert kept == [True, False]


def test_which_lstms_are_one_compiled_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_one_loop(
        rows: int,
        steps: int,
        cells: int,
        projection: int,
        dtype: torch.dtype = torch.float,
        state: torch.dtype = torch.float,
    ) -> bool:
        kernel, bias = torch.empty(2 * projection, 4 * cells, dtype=dtype), torch.empty(4 * cells, dtype=state)
        weights = lstm_steps.Weights(kernel, bias, None, projection)
        nothing = torch.empty(0, 0, dtype=state)
        buffers = lstm_steps.Buffers(nothing, nothing, torch.empty((steps + 1) * rows, 1, dtype=state))
        return lstm_window._window_loops(weights, buffers, rows) is not None

    assert is_one_loop(1, 1, 1024, 256) and is_one_loop(4, 4, 4096, 512)
    assert not is_one_loop(3, 20, 4096, 512) and not is_one_loop(20, 3, 4096, 512)
    assert is_one_loop(4, 4, 1024, 256, torch.bfloat16) and not is_one_loop(4, 4, 4096, 512, torch.bfloat16)
    assert not is_one_loop(4, 4, 5, 3, torch.double, torch.double)
    # Of two threads it would leave one without work.
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert is_one_loop(32, 20, 512, 128) and not is_one_loop(32, 20, 1024, 256)
