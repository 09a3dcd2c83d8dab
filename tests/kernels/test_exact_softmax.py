import pytest
import torch

from allennlp_elmo_plus.kernels.softmax import exact_softmax, reference
from allennlp_elmo_plus.kernels.softmax.exact_softmax import exact_nll
from tests.helpers.allocation_spy import AllocationSpy


def inputs_of(num_tokens, vocab_size, dim=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    shapes = ((num_tokens, dim), (vocab_size, dim), (vocab_size,))
    inputs = [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]
    return inputs, torch.randint(vocab_size, (num_tokens,), generator=generator)


def assert_same(actual, expected, tolerance=1e-12):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("block_tokens", [1, 3, 256])
@pytest.mark.parametrize("chunk_size", [1, 2, 5, 10, 11, 1000])
def test_equals_log_softmax_for_any_chunk(monkeypatch, chunk_size, block_tokens):
    monkeypatch.setattr(exact_softmax, "CPU_BLOCK_TOKENS", block_tokens)
    inputs, targets = inputs_of(7, 11)
    upstream = torch.linspace(-1, 2, 7, dtype=torch.float64)
    expected = reference.exact_nll(inputs[0], targets, *inputs[1:])
    actual = exact_nll(inputs[0], targets, *inputs[1:], chunk_size)
    assert_same(actual, expected)
    assert_same(torch.autograd.grad(actual, inputs, upstream), torch.autograd.grad(expected, inputs, upstream))


def test_gradcheck():
    inputs, targets = inputs_of(4, 7)
    assert torch.autograd.gradcheck(lambda h, w, b: exact_nll(h, targets, w, b, 3), inputs)


def test_probabilities_of_all_words_sum_to_one():
    (hidden, weight, bias), _ = inputs_of(1, 13)
    nll = exact_nll(hidden.expand(13, -1), torch.arange(13), weight, bias, 4)
    assert_same(nll.neg().exp().sum().item(), 1.0)


def test_never_holds_the_logits_of_all_tokens_and_words():
    inputs, targets = inputs_of(50, 400)
    with AllocationSpy() as spy:
        exact_nll(inputs[0], targets, *inputs[1:], 16).sum().backward()
    # The gradient of the weights is the largest tensor; logits of all tokens and words would be 20,000.
    assert spy.largest == 400 * 3


def test_holds_one_block_of_logits_in_evaluation(monkeypatch):
    monkeypatch.setattr(exact_softmax, "CPU_BLOCK_TOKENS", 10)
    inputs, targets = inputs_of(50, 400)
    with AllocationSpy() as spy, torch.no_grad():
        exact_nll(inputs[0], targets, *inputs[1:], 16)
    assert spy.largest == 10 * 16


@pytest.mark.parametrize("trained", [[0], [1], [2], [1, 2]])
def test_frozen_inputs_get_no_gradient(trained):
    inputs, targets = inputs_of(4, 7)
    for index, tensor in enumerate(inputs):
        tensor.requires_grad_(index in trained)
    exact_nll(inputs[0], targets, *inputs[1:], 3).sum().backward()
    assert [index for index, tensor in enumerate(inputs) if tensor.grad is not None] == trained


def test_half_precision_products_with_float32_weights():
    (hidden, weight, bias), targets = inputs_of(30, 40, dim=8, dtype=torch.float32)
    half = hidden.detach().bfloat16().requires_grad_()
    rounded = half.detach().float().requires_grad_()
    expected = reference.exact_nll(rounded, targets, weight, bias)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = exact_nll(half, targets, weight, bias, 16)
    assert actual.dtype == torch.float32
    assert_same(actual, expected, 3e-2)
    grads = torch.autograd.grad(actual.sum(), [half, weight, bias])
    assert [grad.dtype for grad in grads] == [torch.bfloat16, torch.float32, torch.float32]
    for grad, exact in zip(grads, torch.autograd.grad(expected.sum(), [rounded, weight, bias]), strict=True):
        assert (grad.float() - exact).norm() < 0.02 * exact.norm()


def test_float32_stays_float32_under_autocast():
    (hidden, weight, bias), targets = inputs_of(5, 7, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = exact_nll(hidden, targets, weight, bias, 3)
    assert_same(inside, exact_nll(hidden, targets, weight, bias, 3), 0.0)


def test_logits_of_any_size_stay_finite():
    inputs, targets = inputs_of(6, 9, dtype=torch.float32)
    scaled = [tensor.detach().mul(300) for tensor in inputs]
    expected = reference.exact_nll(scaled[0].double(), targets, *[tensor.double() for tensor in scaled[1:]])
    assert_same(exact_nll(scaled[0], targets, *scaled[1:], 4).double(), expected, 1e-2)


def test_no_tokens():
    inputs, targets = inputs_of(0, 7)
    nll = exact_nll(inputs[0], targets, *inputs[1:], 3)
    assert nll.shape == (0,)
    assert all(not grad.any() for grad in torch.autograd.grad(nll.sum(), inputs))


def test_bad_chunk_size_is_named():
    inputs, targets = inputs_of(2, 5)
    with pytest.raises(ValueError, match="`chunk_size` must be at least 1, got 0"):
        exact_nll(inputs[0], targets, *inputs[1:], 0)
