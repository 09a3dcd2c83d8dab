"""The properties of dropout, for each backend."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from allennlp_elmo_plus.kernels import backend
from allennlp_elmo_plus.kernels.dropout.dropout import dropout


@pytest.fixture(params=["numba", "torch", "reference"], autouse=True)
def each_backend(request: pytest.FixtureRequest) -> Iterator[None]:
    with backend.force(request.param):
        yield


def is_kept(prob: float, *shape: int) -> Tensor:
    return dropout(torch.ones(shape), prob, training=True) != 0


@pytest.mark.parametrize("prob", [0.001, 0.1, 0.5, 0.9])
def test_values_are_dropped_or_raised_so_that_their_mean_stays(prob: float) -> None:
    torch.manual_seed(1)
    inputs = torch.rand(1000, 1000) + 1
    outputs = dropout(inputs, prob, training=True)
    dropped = outputs == 0
    # Five standard deviations.
    assert abs(dropped.double().mean() - prob) < 5 * (prob * (1 - prob) / inputs.numel()) ** 0.5
    torch.testing.assert_close(outputs[~dropped], inputs[~dropped] / (1 - prob))


def test_the_gradient_passes_where_values_did() -> None:
    torch.manual_seed(2)
    inputs = torch.randn(37, 50, requires_grad=True)
    outputs = dropout(inputs.t(), 0.3, training=True)
    weights = torch.randn(50, 37)
    (outputs * weights).sum().backward()
    expected = torch.where(outputs == 0, 0, weights / 0.7).t()
    torch.testing.assert_close(inputs.grad, expected)


def test_nothing_is_dropped_outside_training_or_with_probability_0() -> None:
    inputs = torch.randn(5, 5)
    assert torch.equal(dropout(inputs, 0.5, training=False), inputs)
    assert torch.equal(dropout(inputs, 0.0, training=True), inputs)
    assert not dropout(inputs, 1.0, training=True).any()


@pytest.mark.parametrize("prob", [-0.1, 1.1])
def test_a_probability_out_of_range(prob: float) -> None:
    with pytest.raises(ValueError, match="dropout probability has to be between 0 and 1"):
        dropout(torch.ones(3), prob, training=True)


def test_the_seed_decides() -> None:
    masks = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        masks.append((is_kept(0.5, 40, 40), is_kept(0.5, 40, 40)))
    assert torch.equal(masks[0][0], masks[1][0]) and torch.equal(masks[0][1], masks[1][1])
    assert not torch.equal(masks[0][0], masks[2][0]) and not torch.equal(masks[0][0], masks[0][1])


def test_values_are_dropped_independently_of_each_other() -> None:
    """Compares neighbours, values of one row, values of one column, and values at the same index in two calls."""
    torch.manual_seed(5)
    prob, deviation = 0.25, (0.25 * 0.75) ** 0.5
    first, second = ((is_kept(prob, 512, 512).double() - (1 - prob)) / deviation for _ in range(2))
    flat = first.view(-1)
    pairs = [(flat[lag:], flat[:-lag]) for lag in (1, 2, 3, 8, 16, 32, 512, 4096)] + [(flat, second.view(-1))]
    for left, right in pairs:
        assert abs((left * right).mean()) < 5 / len(left) ** 0.5
    for dim in (0, 1):
        # Means of 512 values each, of variance 1 / 512, which is estimated from 512 of them.
        assert abs(first.mean(dim).var() * 512 - 1) < 5 * (2 / 512) ** 0.5


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_pytorch_computes_other_types_than_float32(dtype: torch.dtype) -> None:
    inputs = torch.ones(100, dtype=dtype)
    with backend.force(None):
        torch.manual_seed(6)
        expected = F.dropout(inputs, 0.5)
        torch.manual_seed(6)
        assert torch.equal(dropout(inputs, 0.5, training=True), expected)
