"""The sampled softmax in float32, with its compiled loop and without, against double precision."""

import pytest
import torch

from allennlp_elmo_plus.kernels import backend as compiled
from allennlp_elmo_plus.kernels.softmax import sampled_softmax
from allennlp_elmo_plus.kernels.softmax.sampled_softmax import sampled_softmax_nll
from tests.kernels.test_sampled_softmax import (
    assert_same,
    brute_force,
    gradients_of,
    inputs_of,
    negatives_of,
)


@pytest.fixture(params=["one loop", "no loop"])
def way(request, monkeypatch):
    """What computes in float32 with one thread, and without numba."""
    if request.param == "no loop":
        monkeypatch.setattr(compiled, "_load", lambda module: None)
    called = []
    loops = compiled.loops_for(torch.zeros(1), "softmax._numba_kernels")
    if loops is not None:
        loop = loops.nll_and_gradients
        monkeypatch.setattr(loops, "nll_and_gradients", lambda *given: called.append(True) or loop(*given))
    yield request.param
    assert bool(called) == (request.param == "one loop")


TARGETS = [5, 0, 6, 7, 119, 3, 5, 0, 7]


@pytest.mark.parametrize("num_samples", [3, 32, 100])
@pytest.mark.parametrize("targets, dim", [(TARGETS, 3), (TARGETS * 20, 40), (TARGETS * 20, 64), ([5, 6], 64)])
def test_float32_follows_double_precision(monkeypatch, way, targets, dim, num_samples):
    """Whole blocks of tokens and parts of one, sums over 32 samples at a time and the rest, panels filled and not."""
    monkeypatch.setattr(sampled_softmax, "CPU_BLOCK_LOGITS", 4 * num_samples)
    vocab_size = 120
    negatives = negatives_of(range(5, 5 + num_samples), 200, vocab_size)
    targets = torch.tensor(targets)
    hidden, weight, bias = inputs = inputs_of(len(targets), vocab_size, dim)
    expected = brute_force(hidden, targets, weight, bias, negatives)
    narrow = [each.detach().float().requires_grad_() for each in inputs]
    actual = sampled_softmax_nll(narrow[0], targets, *narrow[1:], negatives)
    assert_same(actual.double(), expected, tolerance=1e-5)
    for ours, theirs in zip(gradients_of(actual, narrow), gradients_of(expected, inputs), strict=True):
        assert ours.dtype == torch.float32
        assert_same(ours.double(), theirs, tolerance=1e-5)
    (of_weight,) = torch.autograd.grad(actual, narrow[1], retain_graph=True)
    assert of_weight.is_coalesced() and (of_weight.indices()[0].diff() > 0).all()
    with torch.no_grad():
        assert_same(sampled_softmax_nll(narrow[0], targets, *narrow[1:], negatives), actual.detach(), tolerance=0)


def test_float32_vectors_may_lie_in_memory_as_they_like(way):
    inputs = inputs_of(9, 120, 40, dtype=torch.float32)
    turned = [each.detach().t().contiguous().t().requires_grad_() for each in inputs[:2]]
    negatives, targets = negatives_of(range(5, 25), 200, 120), torch.tensor(TARGETS)
    one, other = (sampled_softmax_nll(h, targets, w, inputs[2], negatives) for h, w in (inputs[:2], turned))
    assert_same(one, other, tolerance=1e-6)
    for ours, theirs in zip(gradients_of(one, inputs), gradients_of(other, [*turned, inputs[2]]), strict=True):
        assert_same(ours, theirs, tolerance=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("row", [6, 40, 119])
def test_float32_sees_to_what_is_not_a_number(way, row, value):
    """In a sample's weight, wherever among the samples, and in a target's."""
    hidden, weight, bias = inputs_of(3, 120, dtype=torch.float32)
    weight.data[row, 0] = value
    nll = sampled_softmax_nll(hidden, torch.tensor([5, 119, 6]), weight, bias, negatives_of(range(5, 45), 200, 120))
    assert not nll.isfinite()


@pytest.mark.parametrize("word", [-1, 120])
def test_ids_out_of_range_are_refused(word):
    inputs = inputs_of(3, 120, dtype=torch.float32)
    negatives = negatives_of(range(5, 45), 200, 120)
    with pytest.raises(ValueError, match=f"`targets` must be from 0 to 119, got {word}"):
        sampled_softmax_nll(inputs[0], torch.tensor([5, word, 6]), *inputs[1:], negatives)
    negatives.ids[-1 if word > 0 else 0] = word
    with pytest.raises(ValueError, match=f"`negatives.ids` must be from 0 to 119, got {word}"):
        sampled_softmax_nll(inputs[0], torch.tensor([5, 119, 6]), *inputs[1:], negatives)
