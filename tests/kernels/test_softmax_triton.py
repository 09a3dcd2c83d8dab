"""The backend `triton` of the sampled softmax's element-wise part against the definition, without a GPU by Triton's interpreter."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from allennlp_elmo_plus.data.batching.negatives import LogUniformSampler
from allennlp_elmo_plus.kernels import backend
from allennlp_elmo_plus.kernels.softmax import logit_grads, sampled_softmax
from allennlp_elmo_plus.kernels.softmax.negatives import NegativeSample
from tests.helpers.triton_interpreter import DEVICE, import_kernels

VOCABULARY, DIM = 60, 5


@pytest.fixture(scope="module", autouse=True)
def kernels() -> Iterator[object]:
    with pytest.MonkeyPatch.context() as patch:
        yield import_kernels(patch, "allennlp_elmo_plus.kernels.softmax._triton_kernels")


@pytest.fixture(autouse=True)
def triton_on_any_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    rules = backend.Backend(can=lambda situation: True, is_faster=lambda situation: True)
    monkeypatch.setitem(backend.TABLE, "sampled_softmax", {})
    monkeypatch.setitem(backend.TABLE, "sampled_softmax.logits", {"triton": rules})
    monkeypatch.setattr(logit_grads, "check_kernels", lambda *arguments: None)
    yield
    assert not backend._failed


def with_gradients(
    negatives: NegativeSample, dtype: torch.dtype, scale: float, first_weight: float = 1.0
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((23, DIM), (VOCABULARY, DIM), (VOCABULARY,))
    hidden, weight, bias = (scale * torch.randn(shape, generator=generator, dtype=torch.double) for shape in shapes)
    weight[0] *= first_weight
    leaves = [tensor.to(DEVICE, dtype).requires_grad_() for tensor in (hidden, weight, bias)]
    targets = torch.arange(23, device=DEVICE) * 2
    nll = sampled_softmax.sampled_softmax_nll(leaves[0], targets, *leaves[1:], negatives, sparse=False)
    return [nll.detach(), *torch.autograd.grad(nll, leaves)]


def draw(num_samples: int) -> NegativeSample:
    sample = LogUniformSampler(VOCABULARY, num_samples).sample(np.random.default_rng(0))
    return sample._replace(ids=sample.ids.to(DEVICE), log_expected=sample.log_expected.to(DEVICE))


@pytest.mark.parametrize("dtype, tolerance", [(torch.double, 1e-12), (torch.float, 1e-5)])
@pytest.mark.parametrize("num_samples", [1, 16, 37])
@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_equals_the_reference(num_samples: int, dtype: torch.dtype, tolerance: float, scale: float) -> None:
    """Sampled targets and others, rows that fill a block and not, and logits apart by far more than an exponential can hold."""
    negatives = draw(num_samples)
    ours = with_gradients(negatives, dtype, scale)
    with backend.force("reference"):
        expected = with_gradients(negatives, torch.double, scale)
    for actual, reference in zip(ours, expected, strict=True):
        limit = tolerance * max(1.0, float(reference.abs().max()))
        torch.testing.assert_close(actual.double(), reference, rtol=tolerance, atol=limit)


def test_a_logit_that_is_not_a_number_makes_the_loss_one() -> None:
    assert draw(16).ids[0] == 0
    assert with_gradients(draw(16), torch.float, 1.0, first_weight=float("nan"))[0].isnan()
