"""Each backend of the clipped, projected LSTM against the definition in float64: results and gradients."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from allennlp_elmo_plus.kernels import backend
from allennlp_elmo_plus.kernels.lstm import clipped_lstm as op
from allennlp_elmo_plus.kernels.lstm import direction
from allennlp_elmo_plus.modules.recurrent.lstm import LstmLayer

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
CELL_CLIP, PROJ_CLIP = 0.5, 0.3


class Sizes(NamedTuple):
    inputs: int
    cells: int
    projection: int
    scale: float  # of weights


SMALL = Sizes(5, 37, 6, 0.4)
# Cells of two blocks of the compiled loop, the second one not whole.
TWO_BLOCKS = Sizes(32, 300, 40, 0.1)
# All weight gradients fill panels, so that the compiled loop computes them too.
WHOLE_PANELS = Sizes(32, 264, 64, 0.1)


@pytest.fixture(params=["numba", "numba, step by step", "torch", "reference"])
def forced_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "numba, step by step":
        monkeypatch.setitem(backend.TABLE, "lstm.loop", {})
    with backend.force(request.param.split(",")[0]):
        yield request.param


@contextmanager
def computing_backends(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Yield a dictionary that gets, for each operation of the LSTM, the first backend that has computed it."""
    computed: dict[str, str] = {}

    def noted(operation: str, name: str, implementation: Callable[[], Any]) -> Any:
        computed.setdefault(operation, name)
        return implementation()

    def run(operation: str, like: Tensor, implementations: Mapping[str, Callable[[], Any]], **sizes: int) -> Any:
        wrapped = {name: partial(noted, operation, name, function) for name, function in implementations.items()}
        return backend.run(operation, like, wrapped, **sizes)

    with monkeypatch.context() as patch:
        patch.setattr(op, "run", run)
        patch.setattr(direction, "run", run)
        yield computed


def lstm_layer(sizes: Sizes, dtype: torch.dtype, projection: bool = True, clips: bool = True) -> LstmLayer:
    generator = torch.Generator().manual_seed(3)
    limits = (CELL_CLIP, PROJ_CLIP) if clips else (None, None)
    layer = LstmLayer(sizes.inputs, sizes.cells, sizes.projection if projection else None, *limits)
    for parameter in layer.to(dtype).parameters():
        drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.double)
        parameter.data = (drawn * sizes.scale).to(dtype)
    return layer


def lstm_arguments(
    layer: LstmLayer, batch_sizes: list[int], num_rows: int, scale: float = 1.0
) -> tuple[Tensor, list[int], Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    inputs, hidden, cell = (
        torch.randn(rows, size, generator=generator, dtype=torch.double).mul(factor).to(layer.kernel.dtype)
        for rows, size, factor in (
            (sum(batch_sizes), layer.input_size, scale),
            (num_rows, layer.output_size, 0.5),
            (num_rows, layer.cell_size, 0.5),
        )
    )
    return inputs, batch_sizes, hidden, cell


def lstm_run(layer: LstmLayer, batch_sizes: list[int], num_rows: int, scale: float = 1.0) -> dict[str, Tensor]:
    """Return results and gradients by name."""
    inputs, _, hidden, cell = lstm_arguments(layer, batch_sizes, num_rows, scale)
    leaves = {"inputs": inputs, "hidden": hidden, "cell": cell, **dict(layer.named_parameters())}
    results = layer(inputs.requires_grad_(), batch_sizes, hidden.requires_grad_(), cell.requires_grad_())
    generator = torch.Generator().manual_seed(5)
    upstream = [
        torch.randn(result.shape, generator=generator, dtype=torch.double).to(result.dtype) for result in results
    ]
    grads = torch.autograd.grad(results, list(leaves.values()), upstream)
    named = {name: tensor.detach() for name, tensor in results._asdict().items()}
    return {**named, **{f"gradient of {name}": grad for name, grad in zip(leaves, grads, strict=True)}}


def assert_near_definition(layer: LstmLayer, tolerance: float, *arguments: Any, **scale: float) -> dict[str, Tensor]:
    computed = lstm_run(layer, *arguments, **scale)
    dtype = layer.kernel.dtype
    with backend.force("reference"):
        definition = lstm_run(layer.double(), *arguments, **scale)
    for name, expected in definition.items():
        assert computed[name].dtype == dtype
        torch.testing.assert_close(computed[name].double(), expected, rtol=tolerance, atol=tolerance, msg=name)
    return definition


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    "sizes, batch_sizes, num_rows",
    [
        (SMALL, [4] * 5, 4),
        (SMALL, [4, 3, 3, 1], 4),
        (SMALL, [2, 2, 1], 5),
        (SMALL, [1] * 5, 1),
        (SMALL, [3], 3),
        (TWO_BLOCKS, [9, 9, 8, 2], 9),
        (TWO_BLOCKS, [3, 1], 3),
        (WHOLE_PANELS, [9, 9, 8, 2], 9),
    ],
)
@pytest.mark.parametrize("projection, clips", [(True, True), (True, False), (False, True)])
def test_results_and_gradients_are_those_of_the_definition(
    forced_backend: str,
    dtype: torch.dtype,
    sizes: Sizes,
    batch_sizes: list[int],
    num_rows: int,
    projection: bool,
    clips: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer = lstm_layer(sizes, dtype, projection, clips)
    results = layer(*lstm_arguments(layer, batch_sizes, num_rows))
    with torch.no_grad():
        for without_gradients, result in zip(
            layer(*lstm_arguments(layer, batch_sizes, num_rows)), results, strict=True
        ):
            assert torch.equal(without_gradients, result)
    with computing_backends(monkeypatch) as computed:
        definition = assert_near_definition(layer, TOLERANCE[dtype], batch_sizes, num_rows)
    expected = {
        "numba": {"lstm": "torch", "lstm.loop": "numba"},
        "numba, step by step": {"lstm": "torch", "lstm.loop": "torch", "lstm.gates": "numba"},
        "torch": {"lstm": "torch", "lstm.loop": "torch", "lstm.gates": "torch"},
        "reference": {"lstm": "reference"},
    }
    if dtype == torch.float32:
        assert computed == expected[forced_backend]
    if clips and len(batch_sizes) > 3:
        assert (definition["cell"].abs() == CELL_CLIP).double().mean() > 0.1
        assert not projection or (definition["outputs"].abs() == PROJ_CLIP).double().mean() > 0.1


def test_a_window_without_steps_gives_the_state_back(forced_backend: str) -> None:
    layer = lstm_layer(SMALL, torch.float32)
    inputs, batch_sizes, hidden, cell = lstm_arguments(layer, [], 3)
    result = layer(inputs, batch_sizes, hidden.requires_grad_(), cell)
    assert result.outputs.shape == (0, 6) and torch.equal(result.hidden, hidden) and torch.equal(result.cell, cell)
    (grad,) = torch.autograd.grad(result.hidden.sum(), hidden)
    assert torch.equal(grad, torch.ones_like(hidden))


def test_gates_far_from_zero_saturate(forced_backend: str) -> None:
    assert_near_definition(lstm_layer(SMALL, torch.float32, clips=False), 1e-4, [4, 4], 4, scale=500.0)


def test_small_cells_keep_their_digits(forced_backend: str) -> None:
    """A tanh that is a difference of exponentials would give 0 or a power of two here."""
    layer = LstmLayer(1, 8)
    cell = torch.logspace(-9, -1, 8).unsqueeze(0)
    output = layer(torch.zeros(1, 1), [1], torch.zeros(1, 8), cell).outputs
    new_cell = torch.sigmoid(torch.tensor(1.0, dtype=torch.double)) * cell.double()
    torch.testing.assert_close(output.double(), 0.5 * new_cell.tanh(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_reaches_the_outputs(forced_backend: str, value: float) -> None:
    layer = LstmLayer(2, 20, 3, cell_clip=1.0, proj_clip=1.0)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    inputs = torch.zeros(3, 2)
    inputs[1] = value
    outputs = layer(inputs, [1, 1, 1], torch.zeros(1, 3), torch.zeros(1, 20)).outputs
    assert not outputs[0].isnan().any()
    assert outputs[1:].isnan().all()


@pytest.mark.parametrize("trained", ["kernel", "bias", "projection"])
def test_only_the_needed_gradients_are_computed(forced_backend: str, trained: str) -> None:
    layer = lstm_layer(WHOLE_PANELS, torch.float32)
    arguments = lstm_arguments(layer, [9, 9], 9)
    layer(*arguments).outputs.square().sum().backward()
    expected = layer.get_parameter(trained).grad
    layer.zero_grad()
    layer.requires_grad_(False).get_parameter(trained).requires_grad_(True)
    layer(*arguments).outputs.square().sum().backward()
    assert {name for name, parameter in layer.named_parameters() if parameter.grad is not None} == {trained}
    assert torch.equal(layer.get_parameter(trained).grad, expected)


def test_the_compiled_loop_sums_gradients_over_blocks_of_rows() -> None:
    kernels = pytest.importorskip("allennlp_elmo_plus.kernels.lstm._numba_kernels")
    half = kernels.BLOCK_ROWS // 2
    assert_near_definition(
        lstm_layer(WHOLE_PANELS, torch.float32, clips=False), 1e-3, [half + 4, half + 4, half - 6, 3], half + 4
    )


@pytest.mark.parametrize("name", ["inputs", "hidden", "cell", "kernel", "projection"])
def test_arguments_and_weights_may_have_any_strides(forced_backend: str, name: str) -> None:
    layer = lstm_layer(WHOLE_PANELS, torch.float32)
    inputs, batch_sizes, *state = lstm_arguments(layer, [9, 9, 9], 9)
    tensors = {"inputs": inputs, "hidden": state[0], "cell": state[1], **dict(layer.named_parameters())}

    def results() -> tuple[Tensor, ...]:
        leaves = {key: tensor.detach().requires_grad_() for key, tensor in tensors.items()}
        for key, parameter in layer.named_parameters():
            parameter.data = leaves[key].data
        output = layer(leaves["inputs"], batch_sizes, leaves["hidden"], leaves["cell"])
        given = [leaves[key] for key in ("inputs", "hidden", "cell")]
        return (
            *output,
            *torch.autograd.grad(sum(part.square().sum() for part in output), [*given, *layer.parameters()]),
        )

    expected = results()
    tensors[name] = tensors[name].detach().t().contiguous().t()
    torch.testing.assert_close(results(), expected, rtol=1e-5, atol=1e-5)


def test_arguments_are_not_changed(forced_backend: str) -> None:
    layer = lstm_layer(SMALL, torch.float32)
    arguments = lstm_arguments(layer, [3, 2, 1], 3)
    tensors = [argument for argument in arguments if isinstance(argument, Tensor)]
    copies = [tensor.clone() for tensor in tensors]
    layer(*arguments)
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(tensors, copies, strict=True))


def test_a_gradient_of_a_gradient_is_refused() -> None:
    layer = lstm_layer(SMALL, torch.float32)
    inputs, *others = lstm_arguments(layer, [3], 3)
    outputs = layer(inputs.requires_grad_(), *others).outputs
    (gradient,) = torch.autograd.grad(outputs.square().sum(), inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("rows", [2, 9])
def test_blocks_of_gates_follow_each_other_without_gradients(
    forced_backend: str, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """Long inputs are computed in blocks of steps, whose gates share one buffer; many rows are multiplied together with the state."""
    monkeypatch.setattr(direction, "CACHED_GATE_VALUES", 1)
    layer = lstm_layer(SMALL, torch.float32)
    arguments = lstm_arguments(layer, [rows] * 9, rows)
    with torch.no_grad():
        blocks = layer(*arguments)
    assert np.allclose(blocks.outputs, layer(*arguments).outputs.detach(), rtol=0, atol=1e-6)
