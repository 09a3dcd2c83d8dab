import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.data.batching.negatives import LogUniformSampler
from allennlp_elmo_plus.kernels.softmax import sampled_softmax
from allennlp_elmo_plus.kernels.softmax.exact_softmax import exact_nll
from allennlp_elmo_plus.kernels.softmax.negatives import NegativeSample
from allennlp_elmo_plus.kernels.softmax.sampled_softmax import sampled_softmax_nll
from allennlp_elmo_plus.modules.softmax import SoftmaxLayer
from tests.helpers.allocation_spy import AllocationSpy


def log_expected(word, num_tries, vocab_size):
    prob = math.log((word + 2) / (word + 1)) / math.log(vocab_size + 1)
    return math.log(-math.expm1(num_tries * math.log1p(-prob)))


def negatives_of(ids, num_tries, vocab_size):
    ids = sorted(ids)
    counts = [log_expected(word, num_tries, vocab_size) for word in ids]
    return NegativeSample(torch.tensor(ids), torch.tensor(counts, dtype=torch.float64), num_tries)


def inputs_of(num_tokens, vocab_size, dim=3, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((num_tokens, dim), (vocab_size, dim), (vocab_size,))
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def brute_force(hidden, targets, weight, bias, negatives):
    """Word by word: the target and every sampled word that is not the target, each less the log of its expected count."""
    total = hidden.new_zeros(())
    for token, target in enumerate(targets.tolist()):
        words = [target] + [word for word in negatives.ids.tolist() if word != target]
        logits = torch.stack(
            [
                (hidden[token] * weight[word]).sum() + bias[word] - log_expected(word, negatives.num_tries, len(weight))
                for word in words
            ]
        )
        total = total - logits.log_softmax(0)[0]
    return total


def gradients_of(nll, inputs, upstream=1.0):
    return [
        grad.to_dense() if grad.is_sparse else grad
        for grad in torch.autograd.grad(nll * upstream, inputs, retain_graph=True)
    ]


def assert_same(actual, expected, tolerance=1e-12):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def assert_equals_brute_force(targets, negatives, vocab_size, sparse=True):
    hidden, weight, bias = inputs = inputs_of(len(targets), vocab_size)
    expected = brute_force(hidden, targets, weight, bias, negatives)
    actual = sampled_softmax_nll(hidden, targets, weight, bias, negatives, sparse=sparse)
    assert_same(actual, expected)
    assert_same(gradients_of(actual, inputs, upstream=0.7), gradients_of(expected, inputs, upstream=0.7))
    with torch.no_grad():
        assert_same(sampled_softmax_nll(hidden, targets, weight, bias, negatives), expected.detach())


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize(
    ("targets", "ids"),
    [
        pytest.param([4, 3], [0, 1], id="no target sampled"),
        pytest.param([0, 2, 1], [0, 1, 2], id="every target sampled"),
        pytest.param([3, 3, 3, 1, 1], [1, 4], id="repeated targets"),
        pytest.param([0, 1, 2, 3, 4], [0, 1, 3, 4], id="all words sampled but one"),
        pytest.param([2], [2], id="the target is the only sample"),
    ],
)
def test_equals_brute_force_on_a_vocabulary_of_five_words(targets, ids, sparse):
    assert_equals_brute_force(torch.tensor(targets), negatives_of(ids, 7, 5), 5, sparse)


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_equals_brute_force_for_any_targets_and_samples(data):
    vocab_size = data.draw(st.integers(2, 12))
    words = st.integers(0, vocab_size - 1)
    ids = data.draw(st.sets(words, min_size=1))
    targets = torch.tensor(data.draw(st.lists(words, min_size=1, max_size=6)))
    num_tries = data.draw(st.integers(len(ids), 60))
    assert_equals_brute_force(targets, negatives_of(ids, num_tries, vocab_size), vocab_size)


@pytest.mark.parametrize("block_logits", [1, 8, 9])
def test_blocks_of_tokens_change_nothing(monkeypatch, block_logits):
    monkeypatch.setattr(sampled_softmax, "CPU_BLOCK_LOGITS", block_logits)
    assert_equals_brute_force(torch.tensor([0, 5, 2, 2, 6]), negatives_of([0, 2, 4], 9, 7), 7)


def test_gradcheck():
    hidden, weight, bias = inputs_of(4, 6)
    targets, negatives = torch.tensor([0, 5, 3, 5]), negatives_of([0, 1, 3], 5, 6)
    assert torch.autograd.gradcheck(
        lambda *inputs: sampled_softmax_nll(inputs[0], targets, inputs[1], inputs[2], negatives, sparse=False),
        (hidden, weight, bias),
    )


def test_equals_allennlp_given_the_same_samples():
    sampled_softmax_loss = pytest.importorskip("allennlp.modules.sampled_softmax_loss")
    vocab_size, dim = 50, 4
    negatives = LogUniformSampler(vocab_size, 20).sample(np.random.default_rng(3))
    hidden, weight, bias = inputs = inputs_of(30, vocab_size, dim)
    oracle = sampled_softmax_loss.SampledSoftmaxLoss(vocab_size, dim, len(negatives.ids)).double()
    oracle.choice_func = lambda *_: (negatives.ids.numpy(), negatives.num_tries)
    oracle.softmax_w.data, oracle.softmax_b.data = weight.data, bias.data
    targets = torch.randint(vocab_size, (30,), generator=torch.Generator().manual_seed(1))
    expected = oracle(hidden, targets)
    actual = sampled_softmax_nll(hidden, targets, weight, bias, negatives)
    # AllenNLP computes expected counts in float32.
    assert_same(actual, expected, 1e-5)
    assert_same(
        gradients_of(actual, inputs),
        gradients_of(expected, [hidden, oracle.softmax_w, oracle.softmax_b]),
        tolerance=1e-5,
    )


def test_is_the_exact_softmax_when_every_word_is_surely_sampled():
    hidden, weight, bias = inputs_of(6, 9)
    targets = torch.tensor([0, 8, 3, 3, 7, 1])
    negatives = NegativeSample(torch.arange(9), torch.zeros(9, dtype=torch.float64), 10**9)
    assert_same(
        sampled_softmax_nll(hidden, targets, weight, bias, negatives), exact_nll(hidden, targets, weight, bias).sum()
    )


def test_sparse_gradients_are_coalesced_and_hold_each_touched_word_once():
    hidden, weight, bias = inputs_of(5, 20)
    nll = sampled_softmax_nll(hidden, torch.tensor([19, 4, 4, 0, 7]), weight, bias, negatives_of([3, 4, 11], 5, 20))
    for grad, param in zip(torch.autograd.grad(nll, [weight, bias]), [weight, bias], strict=True):
        assert grad.is_coalesced()
        assert grad.shape == param.shape
        assert grad.indices()[0].tolist() == [0, 3, 4, 7, 11, 19]


def test_directions_that_share_the_weights_add_up():
    layer = SoftmaxLayer(12, 3).double()
    targets = [torch.tensor([1, 2, 11]), torch.tensor([5, 1, 1])]
    negatives = [negatives_of([0, 1, 3], 5, 12), negatives_of([1, 2, 9], 6, 12)]
    gradients = []
    for sparse in (True, False):
        hidden = [inputs_of(3, 12, seed=seed)[0] for seed in (0, 1)]
        losses = [
            sampled_softmax_nll(h, t, layer.weight, layer.bias, n, sparse=sparse)
            for h, t, n in zip(hidden, targets, negatives, strict=True)
        ]
        layer.zero_grad()
        (losses[0] + 2 * losses[1]).backward()
        assert layer.weight.grad.is_sparse == layer.bias.grad.is_sparse == sparse
        gradients.append([layer.weight.grad.to_dense(), layer.bias.grad.to_dense(), hidden[0].grad, hidden[1].grad])
    assert_same(gradients[0], gradients[1])


def test_backward_can_run_twice():
    inputs = inputs_of(3, 6)
    nll = sampled_softmax_nll(inputs[0], torch.tensor([0, 5, 1]), *inputs[1:], negatives_of([0, 2], 3, 6))
    assert_same(gradients_of(nll, inputs), gradients_of(nll, inputs), 0.0)


@pytest.mark.parametrize("trained", [[0], [1], [2], [0, 2]])
def test_frozen_inputs_get_no_gradient(trained):
    inputs = inputs_of(3, 6)
    for index, tensor in enumerate(inputs):
        tensor.requires_grad_(index in trained)
    sampled_softmax_nll(inputs[0], torch.tensor([0, 5, 1]), *inputs[1:], negatives_of([0, 2], 3, 6)).backward()
    assert [index for index, tensor in enumerate(inputs) if tensor.grad is not None] == trained


def test_computes_no_gradient_when_none_is_required():
    hidden, weight, bias = inputs_of(8, 9)
    arguments = (hidden, torch.arange(8), weight, bias, negatives_of([0, 2], 3, 9))
    with AllocationSpy() as training:
        assert sampled_softmax_nll(*arguments).requires_grad
    with AllocationSpy() as evaluation, torch.no_grad():
        assert not sampled_softmax_nll(*arguments).requires_grad
    assert (training.products, evaluation.products) == (3, 1)


def test_holds_one_block_of_logits(monkeypatch):
    monkeypatch.setattr(sampled_softmax, "CPU_BLOCK_LOGITS", 400)
    hidden, weight, bias = inputs_of(200, 500, dim=2)
    with AllocationSpy() as spy:
        sampled_softmax_nll(hidden, torch.arange(200), weight, bias, negatives_of(range(40), 90, 500)).backward()
    # The 200 hidden vectors and the gradient of the 200 touched words are as large; all logits would be 8,000.
    assert spy.largest == 400


def test_half_precision_products_with_float32_weights():
    hidden, weight, bias = inputs_of(40, 60, dim=8, dtype=torch.float32)
    negatives = LogUniformSampler(60, 20).sample(np.random.default_rng(0))
    half = hidden.detach().bfloat16().requires_grad_()
    rounded = half.detach().float().requires_grad_()
    targets = torch.arange(40)
    expected = sampled_softmax_nll(rounded, targets, weight, bias, negatives)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = sampled_softmax_nll(half, targets, weight, bias, negatives)
    assert actual.dtype == torch.float32
    assert_same(actual, expected, 1e-2)
    grads = torch.autograd.grad(actual, [half, weight, bias])
    assert [grad.dtype for grad in grads] == [torch.bfloat16, torch.float32, torch.float32]
    for grad, exact in zip(grads, gradients_of(expected, [rounded, weight, bias]), strict=True):
        dense = (grad.to_dense() if grad.is_sparse else grad).float()
        assert (dense - exact).norm() < 0.02 * exact.norm()


def test_autocast_leaves_float32_alone():
    hidden, weight, bias = inputs = inputs_of(6, 9, dtype=torch.float32)
    arguments = (hidden, torch.arange(6), weight, bias, negatives_of([0, 2, 8], 5, 9))
    outside = sampled_softmax_nll(*arguments)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = sampled_softmax_nll(*arguments)
    assert_same(inside, outside, 0.0)
    assert_same(gradients_of(inside, inputs), gradients_of(outside, inputs), 0.0)


def test_logits_of_any_size_keep_value_and_gradient_finite():
    inputs = [tensor.detach().mul(300).requires_grad_() for tensor in inputs_of(6, 9, dtype=torch.float32)]
    targets, negatives = torch.tensor([0, 1, 2, 6, 7, 8]), negatives_of([0, 2, 3, 8], 5, 9)
    wide = [tensor.detach().double().requires_grad_() for tensor in inputs]
    actual = sampled_softmax_nll(inputs[0], targets, *inputs[1:], negatives)
    expected = sampled_softmax_nll(wide[0], targets, *wide[1:], negatives)
    assert_same(actual.double(), expected, 1e-5)
    for grad, exact in zip(gradients_of(actual, inputs), gradients_of(expected, wide), strict=True):
        assert_same(grad.double(), exact, 1e-4)


def test_no_tokens():
    inputs = inputs_of(0, 5)
    nll = sampled_softmax_nll(inputs[0], torch.empty(0, dtype=torch.int64), *inputs[1:], negatives_of([0, 3], 3, 5))
    assert nll.item() == 0
    assert all(not grad.any() for grad in gradients_of(nll, inputs))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"hidden": torch.zeros(2, 4)},
            r"`hidden` must be \(N, D\) and `weight` \(V, D\) with the same D, got \(2, 4\) and \(5, 3\)",
        ),
        (
            {"targets": torch.zeros(3, dtype=torch.int64)},
            r"`targets` must be \(2,\) of int64, got \(3,\) of torch.int64",
        ),
        ({"targets": torch.zeros(2)}, r"`targets` must be \(2,\) of int64, got \(2,\) of torch.float32"),
        ({"bias": torch.zeros(4)}, r"`bias` must be \(5,\), one for each row of `weight`, got \(4,\)"),
    ],
)
def test_bad_shapes_are_named(changed, message):
    arguments = {
        "hidden": torch.zeros(2, 3),
        "targets": torch.zeros(2, dtype=torch.int64),
        "weight": torch.zeros(5, 3),
        "bias": torch.zeros(5),
    }
    with pytest.raises(ValueError, match=message):
        sampled_softmax_nll(**{**arguments, **changed}, negatives=negatives_of([0, 3], 3, 5))
    with pytest.raises(ValueError, match=message):
        exact_nll(**{**arguments, **changed})
