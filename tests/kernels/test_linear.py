"""Matrix products by oneDNN, forced onto whatever processor this is, against PyTorch's in float64."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from allennlp_elmo_plus.kernels import backend
from allennlp_elmo_plus.kernels.gemm import linear as products
from allennlp_elmo_plus.modules.char_cnn import CharacterCNN
from allennlp_elmo_plus.modules.highway import Highway
from allennlp_elmo_plus.modules.recurrent.lstm import LstmLayer
from allennlp_elmo_plus.modules.token_encoder import CharacterEncoder

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")

# Rows that are for oneDNN, and rows that are not.
STEADY, UNSTEADY = [1, 32, 64, 128], [65, 100]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


class Calls(list[tuple[int, ...]]):
    """The shapes of the first factors that oneDNN has multiplied."""


@pytest.fixture
def onednn(monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    """oneDNN for small products too, its calls listed."""
    calls, multiply = Calls(), products._onednn

    def listed(left: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        calls.append(tuple(left.shape))
        return multiply(left, weight, bias)

    monkeypatch.setattr(products, "mkl_is_slow", lambda: True)
    monkeypatch.setattr(backend, "MIN_MULTIPLY_ADDS", 1)
    monkeypatch.setattr(products, "_onednn", listed)
    yield calls


def turned(matrix: Tensor) -> Tensor:
    """The same values, columns next to each other."""
    return matrix.t().contiguous().t()


@pytest.mark.parametrize("rows", STEADY + UNSTEADY)
@pytest.mark.parametrize(
    "layout", [lambda matrix: matrix, turned, lambda matrix: torch.cat([matrix] * 2, 1)[:, : matrix.shape[1]]]
)
def test_products_equal_those_in_float64(onednn: Calls, rows: int, layout: Callable[[Tensor], Tensor]) -> None:
    left, right, bias, grad = draw(rows, 20), layout(draw(20, 12)), draw(12), draw(rows, 12)
    expected = left.double() @ right.double()
    over_rows = left.double().t() @ grad.double()
    total, summed = draw(rows, 12, seed=1), draw(20, 12, seed=1)
    results = {
        "product": (products.linear(left, right), expected),
        "with bias": (products.linear(left, right, bias), expected + bias),
        "product_with": (products.prepare_linear(right, rows, torch.float)(left), expected),
        "add_product": (products.addmm_(total.clone(), left, right), total + expected),
        "over rows": (products.matmul_tn(left, layout(grad)), over_rows),
        "over rows, wide": (products.matmul_tn(layout(grad), left), over_rows.t()),
        "add over rows": (products.addmm_tn_(summed.clone(), left, layout(grad)), summed + over_rows),
    }
    for name, (ours, theirs) in results.items():
        assert ours.dtype == torch.float32, name
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5, msg=name)
    assert len(onednn) == (len(results) if rows in STEADY else 0)


@pytest.mark.parametrize("rows", [32, 100])
def test_affine_and_its_gradients(onednn: Calls, rows: int) -> None:
    arguments = [draw(rows, 20), draw(20, 12), draw(12)]
    ours = [argument.clone().requires_grad_() for argument in arguments]
    theirs = [argument.double().requires_grad_() for argument in arguments]
    results = [products.affine(*each) for each in (ours, theirs)]
    torch.testing.assert_close(results[0].double(), results[1], rtol=1e-5, atol=1e-5)
    for result in results:
        (result * draw(rows, 12, seed=1)).sum().backward()
    for our, their in zip(ours, theirs):
        torch.testing.assert_close(our.grad.double(), their.grad, rtol=1e-5, atol=1e-5)
    assert len(onednn) == (3 if rows == 32 else 0)


def test_affine_computes_no_gradient_that_nobody_wants(onednn: Calls) -> None:
    inputs = draw(32, 20).requires_grad_()
    products.affine(inputs, draw(20, 12), draw(12)).sum().backward()
    assert len(onednn) == 2 and inputs.grad is not None


def test_not_a_number_stays_one(onednn: Calls) -> None:
    left = draw(32, 20)
    left[3, 4], left[5, 0] = float("nan"), float("inf")
    result = products.linear(left, draw(20, 12).abs())
    assert result[3].isnan().all() and (result[5] == float("inf")).all() and len(onednn) == 1


def test_narrow_factors_give_wide_results_rounded_once() -> None:
    left, right, bias = draw(32, 20), draw(20, 12).bfloat16(), draw(12)
    once = (left.bfloat16() @ right).float()
    assert torch.equal(products.linear(left, right, bias), once + bias)
    assert torch.equal(products.prepare_linear(right, 32, torch.float)(left), once)
    assert torch.equal(products.addmm_(torch.ones(32, 12), left, right), once + 1)
    grad = draw(32, 12).bfloat16()
    over_rows = (left.bfloat16().t() @ grad).float()
    assert torch.equal(products.addmm_tn_(torch.ones(20, 12), left, grad), over_rows + 1)


@pytest.mark.parametrize("reason", ["small", "float64", "switched off", "another processor", "forced"])
def test_pytorch_computes_what_is_not_for_onednn(onednn: Calls, monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    left, right = draw(32, 20), draw(20, 12)
    if reason == "small":
        monkeypatch.setattr(backend, "MIN_MULTIPLY_ADDS", 32 * 20 * 12 + 1)
    if reason == "float64":
        left, right = left.double(), right.double()
    if reason == "another processor":
        monkeypatch.setattr(products, "mkl_is_slow", lambda: False)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", reason != "switched off")
    with backend.force("torch" if reason == "forced" else None):
        assert torch.equal(products.linear(left, right), left @ right)
        assert torch.equal(products.prepare_linear(right, 32, left.dtype)(left), left @ right)
        assert torch.equal(products.addmm_(torch.zeros_like(left @ right), left, right), left @ right)
        grad = left @ right
        assert torch.equal(products.matmul_tn(left, grad), left.t() @ grad)
    assert not onednn


def test_forced_onednn_multiplies_on_any_processor(onednn: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "mkl_is_slow", lambda: False)
    monkeypatch.setattr(backend, "MIN_MULTIPLY_ADDS", 1 << 21)
    with backend.force("onednn"):
        products.linear(draw(32, 20), draw(20, 12))
    assert onednn == [(32, 20)]


@pytest.mark.parametrize(
    "capability, processor, expected",
    [
        ("AVX512", "vendor_id\t: AuthenticAMD", True),
        ("AVX512", "vendor_id\t: GenuineIntel", False),
        ("AVX512", "", False),
        ("AVX2", "vendor_id\t: AuthenticAMD", False),
    ],
)
def test_which_processors_it_is_for(
    monkeypatch: pytest.MonkeyPatch, capability: str, processor: str, expected: bool
) -> None:
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(products, "_processor", lambda: processor)
    assert products.mkl_is_slow.__wrapped__() is expected


def lstm_results(dtype: torch.dtype, batch_sizes: list[int], gradients: bool = True) -> list[Tensor]:
    layer = LstmLayer(24, 40, 16, 0.5, 0.3).to(dtype)
    for number, parameter in enumerate(layer.parameters()):
        parameter.data = draw(*parameter.shape, seed=number).to(dtype) * 0.4
    rows = batch_sizes[0]
    inputs, hidden, cell = (
        draw(count, size).to(dtype).requires_grad_() for count, size in ((sum(batch_sizes), 24), (rows, 16), (rows, 40))
    )
    with torch.set_grad_enabled(gradients):
        results = list(layer(inputs, batch_sizes, hidden, cell))
    if gradients:
        sum((result * draw(*result.shape, seed=1)).sum() for result in results).backward()
        results += [inputs.grad, hidden.grad, cell.grad, *(parameter.grad for parameter in layer.parameters())]
    return results


@pytest.mark.parametrize("batch_sizes", [[32] * 4, [64, 64, 30, 30, 2], [66, 66, 62]])
def test_lstm(onednn: Calls, monkeypatch: pytest.MonkeyPatch, batch_sizes: list[int]) -> None:
    monkeypatch.setitem(backend.TABLE, "lstm.loop", {})
    for gradients in (True, False):
        expected = lstm_results(torch.double, batch_sizes, gradients)
        assert not onednn
        for ours, theirs in zip(lstm_results(torch.float, batch_sizes, gradients), expected, strict=True):
            torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)
        assert onednn
        onednn.clear()


@pytest.mark.parametrize("num_words", [3, 70])
def test_character_encoder(onednn: Calls, num_words: int) -> None:
    """Rows that only fill up the last `ROWS` have no part in any result or gradient."""

    def run(dtype: torch.dtype) -> list[Tensor]:
        cnn = CharacterCNN(4, [[1, 3], [2, 5], [3, 8]], "relu", 12)
        encoder = CharacterEncoder(cnn, Highway(16, 2), 10).to(dtype)
        for number, parameter in enumerate(encoder.parameters()):
            parameter.data = draw(*parameter.shape, seed=number).to(dtype) * 0.3
        characters = torch.full((num_words, 12), 261)
        letters = torch.randint(1, 260, (num_words, 6), generator=torch.Generator().manual_seed(0))
        characters[:, :6] = letters
        vectors = encoder(characters)
        assert len(vectors) == num_words
        (vectors * draw(num_words, 10)).sum().backward()
        return [vectors, *(parameter.grad for parameter in encoder.parameters())]

    expected = run(torch.double)
    assert not onednn
    for ours, theirs in zip(run(torch.float), expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)
    assert onednn and all(rows <= products.ROW_MULTIPLE or rows % products.ROW_MULTIPLE == 0 for rows, _ in onednn)
    # Words, filled up where they are more than `ROWS`, by the filters that highway and projection read.
    assert ((128, 16) if num_words == 70 else (num_words, 16)) in onednn
