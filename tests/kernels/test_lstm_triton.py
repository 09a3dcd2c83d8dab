"""The backend `triton`, which computes all directions of a layer at once, against the definition.

Without a GPU, Triton's interpreter runs the kernels on the CPU. It rounds to bfloat16 towards 0, a GPU to the nearest.
"""

import copy
import re
import sys
from collections.abc import Iterator
from typing import Optional

import pytest
import torch
from torch import Tensor

import allennlp_elmo_plus.kernels.lstm
from allennlp_elmo_plus.kernels import backend
from allennlp_elmo_plus.kernels.cuda_graph import SIGHTINGS
from allennlp_elmo_plus.kernels.gemm import float32_sums
from allennlp_elmo_plus.kernels.lstm.stacked_lstm import _StackedLstm, check_kernels
from allennlp_elmo_plus.modules.recurrent.layer import RecurrentOutput
from allennlp_elmo_plus.modules.recurrent.lstm import LstmLayer
from tests.helpers.cuda_graph_stand_in import capture_without_gpu
from tests.helpers.half_precision_products import FlagsOfProducts, flags
from tests.helpers.triton_interpreter import DEVICE, import_kernels

KERNELS = "allennlp_elmo_plus.kernels.lstm._triton_kernels"
BLOCK, INPUT, CELL, PROJECTION = 16, 6, 21, 11  # cells fill one block and begin another
CELL_CLIP, PROJ_CLIP = 0.25, 0.125  # exact in every dtype, and active in a good part of the values
FALLING = [3, 2, 2]  # of 4 rows one never runs, and one ends after the first step


@pytest.fixture(scope="module", autouse=True)
def kernels() -> Iterator[object]:
    with pytest.MonkeyPatch.context() as patch:
        module = import_kernels(patch, KERNELS)
        patch.setattr(module, "BLOCK", BLOCK)
        yield module


@pytest.fixture(autouse=True)
def triton_on_any_device(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = backend.Backend(can=lambda situation: True, is_faster=lambda situation: True)
    monkeypatch.setitem(backend.TABLE, "lstm", {"triton": rules})
    monkeypatch.setattr(backend, "_failed", set())


def random_layers(num=2, projection=True, clips=True, dtype=torch.double) -> list[LstmLayer]:
    generator = torch.Generator().manual_seed(1)
    limits = (CELL_CLIP, PROJ_CLIP) if clips else (None, None)
    layers = [LstmLayer(INPUT, CELL, PROJECTION if projection else None, *limits) for _ in range(num)]
    for parameter in (parameter for layer in layers for parameter in layer.parameters()):
        parameter.data = (torch.randn(parameter.shape, generator=generator, dtype=torch.double) * 0.4).to(DEVICE, dtype)
    return layers


def run_reference(*arguments) -> list[RecurrentOutput]:
    with backend.force("reference"):
        return LstmLayer.run_directions(*arguments)


def stacked(*arguments) -> list[RecurrentOutput]:
    results = LstmLayer.run_directions(*arguments)
    assert not backend._failed
    return results


def arguments(layers: list[LstmLayer], batch_sizes: list[int], num_rows: int) -> tuple:
    generator = torch.Generator().manual_seed(2)

    def draw(num: int, size: int, scale: float) -> list[Tensor]:
        drawn = [torch.randn(num, size, generator=generator, dtype=torch.double) * scale for _ in layers]
        return [tensor.to(DEVICE, layers[0].kernel.dtype).requires_grad_() for tensor in drawn]

    inputs, hidden = draw(sum(batch_sizes), INPUT, 1.0), draw(num_rows, layers[0].output_size, 0.1)
    return inputs, batch_sizes, hidden, draw(num_rows, CELL, 0.2)


def run_with_gradients(run, layers: list[LstmLayer], batch_sizes: list[int], num_rows: int) -> dict[str, Tensor]:
    """Results and gradients of each direction, by name."""
    given = arguments(layers, batch_sizes, num_rows)
    results = run(layers, *given)
    generator = torch.Generator().manual_seed(3)
    named, loss = {}, torch.zeros((), device=DEVICE, dtype=torch.double)
    for d, (layer, result) in enumerate(zip(layers, results)):
        layer.zero_grad()
        for name, tensor in result._asdict().items():
            named[f"{name} {d}"] = tensor.detach()
            loss = loss + (tensor * torch.randn(tensor.shape, generator=generator).to(DEVICE)).sum()
    loss.backward()
    inputs, _, hidden, cell = given
    for d, layer in enumerate(layers):
        leaves = {"inputs": inputs[d], "hidden": hidden[d], "cell": cell[d], **dict(layer.named_parameters())}
        named.update({f"gradient of {name} {d}": leaf.grad for name, leaf in leaves.items()})
    return named


@pytest.mark.parametrize(
    "batch_sizes, num_rows, dtype, tolerance",
    [
        (FALLING, 4, torch.double, 1e-12),
        ([2, 2, 2], 2, torch.float, 1e-5),
        pytest.param(FALLING, 4, torch.float, 1e-5, marks=pytest.mark.slow),
        pytest.param([2, 2, 2], 2, torch.double, 1e-12, marks=pytest.mark.slow),
    ],
)
def test_equals_the_reference(batch_sizes: list[int], num_rows: int, dtype: torch.dtype, tolerance: float) -> None:
    layers = random_layers(dtype=dtype)
    ours = run_with_gradients(stacked, layers, batch_sizes, num_rows)
    expected = run_with_gradients(run_reference, layers, batch_sizes, num_rows)
    torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance)
    for d in range(2):
        for values, clip in ((ours[f"outputs {d}"], PROJ_CLIP), (ours[f"cell {d}"][: batch_sizes[0]], CELL_CLIP)):
            assert 0.2 < (values.abs() == clip).double().mean() < 0.9


@pytest.mark.parametrize("batch_sizes", [[], [0]])
def test_without_rows_there_is_nothing_to_compute(batch_sizes: list[int]) -> None:
    for result in stacked(random_layers(), *arguments(random_layers(), batch_sizes, 0)):
        assert [len(tensor) for tensor in result] == [0, 0, 0]


@pytest.mark.parametrize("num, projection, clips", [(2, False, True), (2, True, False), (1, True, True)])
def test_equals_the_reference_without_some_parts(num: int, projection: bool, clips: bool) -> None:
    layers = random_layers(num, projection, clips)
    ours = run_with_gradients(stacked, layers, FALLING, 4)
    torch.testing.assert_close(ours, run_with_gradients(run_reference, layers, FALLING, 4), rtol=0, atol=1e-12)


def run_autocast(*given) -> list[RecurrentOutput]:
    with torch.autocast(DEVICE, torch.bfloat16):
        results = stacked(*given)
    for result in results:
        assert [tensor.dtype for tensor in result] == [torch.bfloat16, torch.float32, torch.float32]
        assert not torch.equal(result.cell, result.cell.bfloat16().float())
    return results


def test_bfloat16_products_come_near_the_float32_reference() -> None:
    """Within a share of each tensor's norm. Without clips: beside one, rounding turns whole gradients off, or on."""
    layers = random_layers(clips=False, dtype=torch.float)
    expected = run_with_gradients(run_reference, layers, FALLING, 4)
    ours = run_with_gradients(run_autocast, layers, FALLING, 4)
    for name, tensor in ours.items():
        error = (tensor.float() - expected[name]).norm() / expected[name].norm()
        assert error < 0.03, f"{name}: {error}"
    for name in ("hidden 0", "hidden 1", "cell 0", "cell 1"):
        assert torch.equal(ours[name][3], expected[name][3]), "the row that never ran"


def test_with_bfloat16_products_no_gradient_passes_a_clip_and_all_pass_beside_it() -> None:
    layers = random_layers(1, dtype=torch.float)
    given = arguments(layers, [3], 3)
    (result,), (expected,) = run_autocast(layers, *given), run_reference(layers, *given)
    for ours, reference in zip(result, expected):
        assert (ours - reference).norm() < 0.02 * reference.norm()
    (grad_cell,) = torch.autograd.grad(result.cell.sum(), given[-1], retain_graph=True)
    assert torch.equal(grad_cell == 0, result.cell.abs() == CELL_CLIP)
    (grad_projection,) = torch.autograd.grad(result.outputs[0].sum(), layers[0].projection)
    assert torch.equal((grad_projection == 0).all(0), result.outputs[0].abs() == PROJ_CLIP)
    assert all(0.2 < (grad == 0).double().mean() < 0.8 for grad in (grad_cell, grad_projection))


@pytest.mark.parametrize("dtype", [torch.float, torch.bfloat16])
@pytest.mark.parametrize("limit", [0.125, 0.12])
def test_values_that_reach_the_limit_are_clipped(kernels, dtype: torch.dtype, limit: float) -> None:
    """0.12 is no bfloat16: rounded down, the limit itself would pass for unclipped in a mask taken after clipping."""
    generator = torch.Generator().manual_seed(4)
    values = torch.randn(2, 3, 2 * BLOCK + 3, generator=generator).mul(0.12).to(dtype).to(DEVICE)
    values[0, 0, :3] = torch.tensor([limit, -limit, float("nan")])
    before = values.clone()
    padded = torch.zeros(2, 5, values.shape[2], dtype=torch.bool, device=DEVICE)
    kernels.clip_values(values, padded[:, 1:4], limit)
    clipped = padded[:, 1:4]
    assert torch.equal(clipped, before.abs().float() >= torch.tensor(limit))
    assert 0.2 < clipped.double().mean() < 0.8 and not padded[:, 0].any() and not padded[:, 4].any()
    torch.testing.assert_close(values, before.clamp(-limit, limit), rtol=2**-7, atol=0, equal_nan=True)
    torch.testing.assert_close(values[~clipped], before[~clipped], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("projection", [True, False])
def test_without_gradients_the_same_and_arguments_are_left_alone(projection: bool) -> None:
    layers = random_layers(projection=projection, dtype=torch.float)
    given = arguments(layers, FALLING, 4)
    copies = copy.deepcopy(given)
    expected = stacked(layers, *given)
    with torch.no_grad():
        results = stacked(layers, *given)
    torch.testing.assert_close(results, expected, rtol=0, atol=0)
    torch.testing.assert_close(given, copies, rtol=0, atol=0)


def test_carried_windows_equal_one_long_sequence() -> None:
    layers = random_layers(dtype=torch.float)
    inputs, batch_sizes, hidden, cell = arguments(layers, [2] * 3, 2)
    with torch.no_grad():
        whole = stacked(layers, inputs, batch_sizes, hidden, cell)
        first = stacked(layers, [tensor[:2] for tensor in inputs], [2], hidden, cell)
        _, hidden, cell = zip(*first)
        second = stacked(layers, [tensor[2:] for tensor in inputs], [2, 2], hidden, cell)
    for one, other, result in zip(first, second, whole):
        carried = torch.cat([one.outputs, other.outputs]), other.hidden, other.cell
        torch.testing.assert_close(carried, tuple(result), rtol=0, atol=1e-6)


def test_the_backward_can_run_twice_and_leaves_its_argument_alone() -> None:
    layers = random_layers()
    inputs, batch_sizes, hidden, cell = arguments(layers, [2, 1], 2)
    weights = [torch.stack(tensors) for tensors in zip(*(layer.parameters() for layer in layers))]
    states = torch.stack(hidden), torch.stack(cell)
    outputs = _StackedLstm.apply(torch.stack(inputs), batch_sizes, *states, *weights, CELL_CLIP, PROJ_CLIP)[0]
    upstream = torch.ones_like(outputs)
    first = torch.autograd.grad(outputs, inputs, upstream, retain_graph=True)
    second = torch.autograd.grad(outputs, inputs, upstream)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert torch.equal(upstream, torch.ones_like(outputs))


def test_windows_that_a_graph_replays_equal_the_reference(monkeypatch) -> None:
    replays = [] if DEVICE == "cuda" else capture_without_gpu(monkeypatch)
    layers = random_layers(dtype=torch.float)
    for _ in range(SIGHTINGS + 1):
        ours = run_with_gradients(stacked, layers, [2, 2], 2)
        torch.testing.assert_close(ours, run_with_gradients(run_reference, layers, [2, 2], 2), rtol=1e-5, atol=1e-5)
    assert DEVICE == "cuda" or replays[0].replays == 3


def test_all_products_in_bfloat16_have_cublas_sum_in_float32(monkeypatch) -> None:
    """Up to 16,384 values are summed. A CPU's products are taken for those of cuBLAS."""
    monkeypatch.setattr(float32_sums, "CUBLAS_DEVICES", (DEVICE,))
    with FlagsOfProducts() as seen:
        run_with_gradients(run_autocast, random_layers(1, dtype=torch.float), [2, 1], 2)
    # A step's products with the state and the projection, over all steps those with the inputs; as many for each gradient.
    assert len(seen.flags) == 2 * 2 + 1 + 2 * 2 + 4
    assert set(seen.flags) == {(False, False)} and flags() == (True, True)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Forget which kernels were found to work."""
    check_kernels.cache_clear()
    yield
    check_kernels.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float, torch.bfloat16, torch.half, torch.double])
def test_kernels_work_for_each_dtype(unchecked, dtype: torch.dtype) -> None:
    check_kernels(torch.device(DEVICE), dtype)


class CompilationError(Exception):
    """As Triton's, which is no RuntimeError."""


@pytest.mark.parametrize(
    "error, message",
    [
        (
            RuntimeError("Failed to find C compiler.\nPlease specify via CC"),
            "RuntimeError: Failed to find C compiler. P",
        ),
        (CompilationError("type fp8 not supported"), "CompilationError: type fp8 not supported"),
        (None, r"on \S+ for torch.float64 a kernel computed \(\[-2.0, 0.5, 2.0\], \[False, False, False\]\)"),
    ],
)
def test_without_a_compiler_or_a_capable_device_pytorch_computes_and_the_log_says_why(
    unchecked, kernels, monkeypatch, caplog, error: Optional[Exception], message: str
) -> None:
    def refuse(*_: object) -> None:
        if error is not None:
            raise error

    monkeypatch.setattr(kernels, "clip_values", refuse)
    layers = random_layers()
    expected = run_with_gradients(run_reference, layers, FALLING, 4)
    for _ in range(2):
        computed = run_with_gradients(LstmLayer.run_directions, layers, FALLING, 4)
        torch.testing.assert_close(computed, expected, rtol=0, atol=1e-12)
    (record,) = caplog.records
    assert re.match(
        f"`lstm` cannot be computed by triton, the next backend computes it: {message}", record.getMessage()
    )


def test_without_triton_pytorch_computes(unchecked, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, KERNELS, None)
    monkeypatch.setattr(allennlp_elmo_plus.kernels.lstm, "_triton_kernels", None)
    layers = random_layers(dtype=torch.float)
    given = arguments(layers, FALLING, 4)
    torch.testing.assert_close(LstmLayer.run_directions(layers, *given), run_reference(layers, *given))
    assert backend._failed == {("lstm", "triton", torch.float32)}
