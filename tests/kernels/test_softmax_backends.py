"""Each backend of the two softmax losses against the definitions in float64."""

from collections.abc import Iterator

import pytest
import torch

from allennlp_elmo_plus.kernels import backend
from allennlp_elmo_plus.kernels.softmax import exact_softmax, reference, sampled_softmax
from allennlp_elmo_plus.kernels.softmax.exact_softmax import exact_nll
from allennlp_elmo_plus.kernels.softmax.sampled_softmax import sampled_softmax_nll
from tests.kernels.test_sampled_softmax import assert_same, gradients_of, inputs_of, negatives_of

TARGETS = [5, 0, 6, 7, 119, 3, 5, 0, 7]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
SHAPES = [(TARGETS, 3), (TARGETS * 20, 40), (TARGETS * 20, 64), ([5, 6], 64)]


@pytest.fixture(params=["numba", "torch", "reference"])
def each_backend(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[str]:
    with backend.force(request.param):
        yield request.param
    assert not caplog.records, "another backend computed"


@pytest.mark.parametrize("num_samples", [3, 32, 100])
@pytest.mark.parametrize("targets, dim", SHAPES)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("sparse", [True, False])
def test_sampled_softmax_follows_the_reference(monkeypatch, each_backend, targets, dim, num_samples, dtype, sparse):
    """Whole blocks of tokens and parts of one, whole blocks of 32 sums and a rest, panels filled and not."""
    monkeypatch.setattr(sampled_softmax, "CPU_BLOCK_LOGITS", 4 * num_samples)
    negatives, targets = negatives_of(range(5, 5 + num_samples), 200, 120), torch.tensor(targets)
    inputs = inputs_of(len(targets), 120, dim)
    expected = reference.sampled_softmax_nll(inputs[0], targets, *inputs[1:], negatives)
    narrow = [tensor.detach().to(dtype).requires_grad_() for tensor in inputs]
    actual = sampled_softmax_nll(narrow[0], targets, *narrow[1:], negatives, sparse)
    assert_same(actual.double(), expected, TOLERANCE[dtype])
    for ours, theirs in zip(gradients_of(actual, narrow), gradients_of(expected, inputs), strict=True):
        assert ours.dtype == dtype
        assert_same(ours.double(), theirs, TOLERANCE[dtype])
    (grad_weight,) = torch.autograd.grad(actual, narrow[1], retain_graph=True)
    assert grad_weight.is_sparse == sparse
    assert not sparse or (grad_weight.is_coalesced() and (grad_weight.indices()[0].diff() > 0).all())
    with torch.no_grad():
        assert_same(sampled_softmax_nll(narrow[0], targets, *narrow[1:], negatives), actual.detach(), tolerance=0)


@pytest.mark.parametrize("targets, dim", SHAPES)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_exact_softmax_follows_the_reference(monkeypatch, each_backend, targets, dim, dtype):
    monkeypatch.setattr(exact_softmax, "CPU_BLOCK_TOKENS", 50)
    targets = torch.tensor(targets)
    inputs = inputs_of(len(targets), 120, dim)
    expected = reference.exact_nll(inputs[0], targets, *inputs[1:])
    narrow = [tensor.detach().to(dtype).requires_grad_() for tensor in inputs]
    actual = exact_nll(narrow[0], targets, *narrow[1:], 50)
    assert_same(actual.double(), expected, TOLERANCE[dtype])
    upstream = torch.linspace(-1, 2, len(targets), dtype=torch.float64)
    expected_gradients = torch.autograd.grad(expected, inputs, upstream)
    for ours, theirs in zip(torch.autograd.grad(actual, narrow, upstream.to(dtype)), expected_gradients, strict=True):
        assert ours.dtype == dtype
        assert_same(ours.double(), theirs, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_hidden_states_give_a_loss_in_float32(each_backend, dtype):
    """As under autocast: the products are narrow, the weights float32."""
    hidden, weight, bias = inputs_of(40, 120, 8, dtype=torch.float32)
    narrow, targets = hidden.detach().to(dtype).requires_grad_(), torch.arange(40)
    for nll in (
        sampled_softmax_nll(narrow, targets, weight, bias, negatives_of(range(5, 45), 200, 120)),
        exact_nll(narrow, targets, weight, bias).sum(),
    ):
        assert nll.dtype == torch.float32
        grads = torch.autograd.grad(nll, [narrow, weight, bias])
        assert [grad.dtype for grad in grads] == [dtype, torch.float32, torch.float32]


@pytest.mark.parametrize("factor", [1 / 2500, 1 / 641])
def test_a_factor_of_the_loss_is_not_rounded_to_the_type_of_the_hidden_states(each_backend, factor):
    hidden, weight, bias = inputs_of(40, 120, 64, dtype=torch.float32)
    narrow, targets = hidden.detach().to(torch.bfloat16).requires_grad_(), torch.arange(40)
    nll = sampled_softmax_nll(narrow, targets, weight, bias, negatives_of(range(5, 45), 200, 120))
    whole, part = (torch.autograd.grad(loss, narrow, retain_graph=True)[0].float() for loss in (nll, nll * factor))
    # Each value is rounded, their sum nearly not.
    assert float(part.abs().sum()) == pytest.approx(factor * float(whole.abs().sum()), rel=3e-4)


def test_vectors_may_be_transposed_in_memory(each_backend):
    inputs = inputs_of(9, 120, 40, dtype=torch.float32)
    transposed = [tensor.detach().t().contiguous().t().requires_grad_() for tensor in inputs[:2]]
    negatives, targets = negatives_of(range(5, 25), 200, 120), torch.tensor(TARGETS)
    one, other = (sampled_softmax_nll(h, targets, w, inputs[2], negatives) for h, w in (inputs[:2], transposed))
    assert_same(one, other, tolerance=1e-6)
    for ours, theirs in zip(gradients_of(one, inputs), gradients_of(other, [*transposed, inputs[2]]), strict=True):
        assert_same(ours, theirs, tolerance=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("row", [6, 40, 119])
def test_a_weight_that_is_not_finite_gives_a_loss_that_is_not_finite(each_backend, row, value):
    """The weight of a sampled word, at several indices, or of a target."""
    hidden, weight, bias = inputs_of(3, 120, dtype=torch.float32)
    weight.data[row, 0] = value
    nll = sampled_softmax_nll(hidden, torch.tensor([5, 119, 6]), weight, bias, negatives_of(range(5, 45), 200, 120))
    assert not nll.isfinite()


@pytest.mark.parametrize("word", [-1, 120])
def test_ids_out_of_range_are_refused_before_the_kernel_reads_them(word):
    inputs = inputs_of(3, 120, dtype=torch.float32)
    negatives = negatives_of(range(5, 45), 200, 120)
    with pytest.raises(ValueError, match=f"`targets` must be from 0 to 119, got {word}"):
        sampled_softmax_nll(inputs[0], torch.tensor([5, word, 6]), *inputs[1:], negatives)
    negatives.ids[-1 if word > 0 else 0] = word
    with pytest.raises(ValueError, match=f"`negatives.ids` must be from 0 to 119, got {word}"):
        sampled_softmax_nll(inputs[0], torch.tensor([5, 119, 6]), *inputs[1:], negatives)
