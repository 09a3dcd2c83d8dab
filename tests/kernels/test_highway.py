"""Each backend of a highway layer's element-wise part against the definition in float64: values and gradients."""

import pytest
import torch

from allennlp_elmo_plus.kernels import backend
from allennlp_elmo_plus.kernels.highway import reference
from allennlp_elmo_plus.kernels.highway.combine import combine, combine_backward

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("forced", ["numba", "torch"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 37), (20, 64), (0, 5)])
def test_values_and_gradients_are_those_of_the_definition(
    forced: str, dtype: torch.dtype, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    exact = [
        torch.randn(shape, generator=generator, dtype=torch.double).mul_(2).to(dtype).double().requires_grad_()
        for _ in range(3)
    ]
    grad = torch.randn(shape, generator=generator, dtype=torch.double).to(dtype)
    expected = reference.combine(*exact)
    expected_grads = torch.autograd.grad(expected, exact, grad.double())
    carry, transform, inputs = (tensor.detach().to(dtype) for tensor in exact)
    with backend.force(forced):
        assert backend.choose("highway", inputs) == (forced if dtype == torch.float32 else "torch")
        combined = combine(carry, transform, inputs)
        gradients = combine_backward(grad, combined.gate, combined.transformed, inputs)
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(combined.outputs.double(), expected.detach(), rtol=tolerance, atol=tolerance)
    for computed, tensor in zip(gradients, expected_grads, strict=True):
        assert computed.dtype == dtype
        torch.testing.assert_close(computed.double(), tensor, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("forced", ["numba", "torch"])
def test_what_is_not_a_number_stays_so(forced: str) -> None:
    with backend.force(forced):
        combined = combine(torch.zeros(1, 1), torch.full((1, 1), torch.nan), torch.ones(1, 1))
    assert combined.outputs.isnan().all()


def test_inputs_and_gradients_need_not_be_contiguous() -> None:
    inputs = torch.randn(8, 4).t()
    combined = combine(torch.zeros(4, 8), torch.ones(4, 8), inputs)
    torch.testing.assert_close(combined.outputs, 0.5 + 0.5 * inputs)
    gradients = combine_backward(torch.ones(8, 4).t(), combined.gate, combined.transformed, inputs)
    torch.testing.assert_close(gradients.inputs, torch.full((4, 8), 0.5))
