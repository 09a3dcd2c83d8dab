"""The sampled softmax in float32, with its compiled loop and without, against double precision."""

import pytest
import torch

from allennlp_elmo_plus.core import compiled, sampled_softmax
from allennlp_elmo_plus.core.sampled_softmax import sampled_softmax_nll

from .test_sampled_softmax import assert_same, brute_force, gradients_of, inputs_of, negatives_of


@pytest.mark.parametrize("has_numba", [True, False])
@pytest.mark.parametrize("num_samples", [3, 32, 100])
def test_float32_follows_double_precision(monkeypatch, num_samples, has_numba):
    """With and without the compiled loop, whose sums go over 32 samples at a time."""
    if not has_numba:
        monkeypatch.setattr(compiled, "_load", lambda module: None)
    monkeypatch.setattr(sampled_softmax, "CPU_BLOCK_LOGITS", 4 * num_samples)
    assert (compiled.loops_for(torch.zeros(1), "softmax_loops") is None) != has_numba
    vocab_size = 120
    negatives = negatives_of(range(5, 5 + num_samples), 200, vocab_size)
    targets = torch.tensor([5, 0, 6, 7, 119, 3, 5, 0, 7])
    hidden, weight, bias = inputs = inputs_of(len(targets), vocab_size)
    expected = brute_force(hidden, targets, weight, bias, negatives)
    narrow = [each.detach().float().requires_grad_() for each in inputs]
    actual = sampled_softmax_nll(narrow[0], targets, *narrow[1:], negatives)
    assert_same(actual.double(), expected, tolerance=1e-5)
    for ours, theirs in zip(gradients_of(actual, narrow), gradients_of(expected, inputs), strict=True):
        assert ours.dtype == torch.float32
        assert_same(ours.double(), theirs, tolerance=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("row", [6, 40, 119])
def test_float32_sees_to_what_is_not_a_number(row, value):
    """In a sample's weight, wherever among the samples, and in a target's."""
    hidden, weight, bias = inputs_of(3, 120, dtype=torch.float32)
    weight.data[row, 0] = value
    nll = sampled_softmax_nll(hidden, torch.tensor([5, 119, 6]), weight, bias, negatives_of(range(5, 45), 200, 120))
    assert not nll.isfinite()
