"""With products in bfloat16, all that is summed over tokens or over a long inner dimension is summed in float32."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from allennlp_elmo_plus.data.batching.negatives import LogUniformSampler
from allennlp_elmo_plus.data.text.characters import encode_words
from allennlp_elmo_plus.kernels.gemm import float32_sums
from allennlp_elmo_plus.kernels.gemm.float32_sums import sums_in_float32
from allennlp_elmo_plus.kernels.gemm.linear import affine, linear, matmul_tn
from allennlp_elmo_plus.kernels.softmax.sampled_softmax import sampled_softmax_nll
from tests.helpers.half_precision_products import FlagsOfProducts, flags
from tests.helpers.small_models import LSTM, batch_of, small_model


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def relative(ours: Tensor, expected: Tensor) -> float:
    return float((ours.double() - expected.double()).norm() / expected.double().norm())


class SelectWithAtomicAdds(torch.autograd.Function):
    """`table.index_select(0, rows)` whose gradient is added up as on CUDA: row by row, in the table's type."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape = table.shape
        return table[rows]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        grad_table = grad.new_zeros(ctx.shape)
        for row, values in zip(ctx.saved_tensors[0].tolist(), grad):
            grad_table[row] += values
        return grad_table, None


def test_a_words_gradient_is_summed_in_float32_over_its_occurrences() -> None:
    """A full stop occurs some hundred times in a batch: a sum in bfloat16 stops growing at 256 times what is added."""
    model = small_model(lstm={**LSTM, "projection_dim": 8}).float()
    encoder = model.token_encoder
    characters = torch.from_numpy(encode_words(["the", "mill", "."], 12))
    rows, upstream = torch.arange(1500) % 3, draw(1500, 8).abs_()

    def gradients(enabled: bool) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            words = encoder(characters)
            selected = SelectWithAtomicAdds.apply(words, rows)
        # The one sum over all words, and no product, that follows.
        return torch.autograd.grad(selected, encoder.projection_bias, upstream.to(selected.dtype))[0]

    assert relative(gradients(True), gradients(False)) < 1e-5


def test_the_language_model_selects_words_from_a_float32_table_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = small_model().float(), batch_of([["the", "mill", "turns", "."]])
    types, select = [], Tensor.index_select

    def recorded(self: Tensor, dim: int, index: Tensor) -> Tensor:
        types.append(self.dtype)
        return select(self, dim, index)

    monkeypatch.setattr(Tensor, "index_select", recorded)
    with torch.autocast("cpu", torch.bfloat16):
        model(batch)
    assert types == [torch.float32] * 2


def test_affine_under_autocast_rounds_each_product_once_and_sums_the_bias_gradient_in_float32() -> None:
    inputs, weight, bias = (tensor.requires_grad_() for tensor in (draw(700, 20), draw(20, 12), draw(12)))
    upstream = draw(700, 12, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = affine(inputs, weight, bias)
    assert outputs.dtype == torch.float32
    assert torch.equal(outputs, (inputs.bfloat16() @ weight.bfloat16()).float() + bias)
    grads = torch.autograd.grad(outputs, [inputs, weight, bias], upstream)
    assert torch.equal(grads[0], (upstream.bfloat16() @ weight.bfloat16().t()).float())
    assert torch.equal(grads[1], (inputs.bfloat16().t() @ upstream.bfloat16()).float())
    assert torch.equal(grads[2], upstream.sum(0))


def test_the_softmaxs_bias_gradient_is_summed_in_float32_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELMO_PLUS_BACKEND", "torch")
    # Products that bfloat16 holds exactly: nothing but the sum over tokens may differ from float64.
    hidden = torch.eye(8)[torch.arange(900) % 8]
    weight, bias = draw(300, 8).bfloat16().float().requires_grad_(), draw(300).requires_grad_()
    negatives = LogUniformSampler(300, 64).sample(np.random.default_rng(0))
    targets = torch.arange(900) % 300

    def gradient(hidden: Tensor, weight: Tensor, bias: Tensor, enabled: bool) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            nll = sampled_softmax_nll(hidden, targets, weight, bias, negatives)
        return torch.autograd.grad(nll, bias)[0].to_dense()

    expected = gradient(*(tensor.detach().double().requires_grad_() for tensor in (hidden, weight, bias)), False)
    assert relative(gradient(hidden.bfloat16(), weight, bias, True), expected) < 1e-5


@pytest.fixture
def like_cublas(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A CPU's products are taken for those of cuBLAS, which may sum in the narrow type unless it is told otherwise."""
    monkeypatch.setattr(float32_sums, "CUBLAS_DEVICES", ("cpu",))
    assert flags() == (True, True)
    yield
    assert flags() == (True, True), "the user's settings must be restored"


def test_no_product_of_ours_lets_cublas_sum_in_bfloat16(like_cublas: None) -> None:
    inputs, weight, bias = (tensor.requires_grad_() for tensor in (draw(30, 20), draw(20, 12), draw(12)))
    with FlagsOfProducts() as seen:
        linear(inputs.detach(), weight.detach().bfloat16())
        matmul_tn(inputs.detach().bfloat16(), inputs.detach().bfloat16())
        with torch.autocast("cpu", torch.bfloat16):
            outputs = affine(inputs, weight, bias)
        outputs.sum().backward()
    assert seen.flags == [(False, False)] * 5


def test_settings_are_restored_after_an_error_and_only_by_the_last_of_several_threads(like_cublas: None) -> None:
    device = torch.device("cpu")
    with pytest.raises(KeyError), sums_in_float32(device):
        raise KeyError
    assert flags() == (True, True)
    first, second = sums_in_float32(device), sums_in_float32(device)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert flags() == (False, False)
    second.__exit__(None, None, None)


@pytest.mark.skipif(
    not hasattr(torch.backends.cuda.matmul, "allow_bf16_reduced_precision_reduction_split_k"),
    reason="this PyTorch has no setting for split products",
)
def test_the_setting_for_split_products_is_left_as_it_is(like_cublas: None) -> None:
    matmul = torch.backends.cuda.matmul
    matmul.allow_bf16_reduced_precision_reduction = False, False
    try:
        with sums_in_float32(torch.device("cpu")):
            assert not matmul.allow_bf16_reduced_precision_reduction_split_k
        assert not matmul.allow_bf16_reduced_precision_reduction_split_k and flags() == (False, True)
    finally:
        matmul.allow_bf16_reduced_precision_reduction = True, True


def test_the_settings_are_left_alone_on_a_cpu() -> None:
    with sums_in_float32(torch.device("cpu")):
        assert flags() == (True, True)
