"""The highway layers, compared with their equation in values and gradients."""

import pytest
import torch

from allennlp_elmo_plus.modules.highway import Highway


def random_highway(dim: int, num_layers: int) -> Highway:
    generator = torch.Generator().manual_seed(5)
    highway = Highway(dim, num_layers).double()
    with torch.no_grad():
        for parameter in highway.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return highway


def test_each_layer_is_the_gated_sum_of_the_transformed_and_the_unchanged_input() -> None:
    highway = random_highway(3, 2)
    inputs = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    expected = inputs.clone()
    for layer in range(2):
        for row in expected:
            gate = 1 / (1 + torch.exp(-(row @ highway.carry_weights[layer] + highway.carry_biases[layer])))
            transformed = (row @ highway.transform_weights[layer] + highway.transform_biases[layer]).clamp(min=0)
            row.copy_((gate * transformed + (1 - gate) * row).detach())
    torch.testing.assert_close(highway(inputs), expected, rtol=0, atol=1e-14)


def test_an_open_gate_transforms_and_a_closed_gate_copies_the_input() -> None:
    highway = random_highway(3, 1)
    inputs = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        highway.carry_weights[0].zero_()
        highway.carry_biases[0].fill_(-100.0)
    torch.testing.assert_close(highway(inputs), inputs)
    with torch.no_grad():
        highway.carry_biases[0].fill_(100.0)
    transformed = (inputs @ highway.transform_weights[0] + highway.transform_biases[0]).relu()
    torch.testing.assert_close(highway(inputs), transformed)


def test_gradients_are_those_of_finite_differences() -> None:
    highway = random_highway(3, 2)
    inputs = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(8)).requires_grad_()
    torch.autograd.gradcheck(lambda *_: highway(inputs), (inputs, *highway.parameters()))


@pytest.mark.parametrize("trained", ["carry_weights.0", "carry_biases.0", "transform_weights.0", "transform_biases.0"])
def test_frozen_weights_get_no_gradient_and_the_other_weights_and_the_input_do(trained: str) -> None:
    highway = random_highway(3, 2).requires_grad_(False)
    parameter = highway.get_parameter(trained).requires_grad_(True)
    inputs = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(8)).requires_grad_()
    torch.autograd.gradcheck(lambda *_: highway(inputs), (inputs, parameter))
    highway(inputs).sum().backward()
    assert [name for name, weight in highway.named_parameters() if weight.grad is not None] == [trained]


def test_second_derivatives_are_refused() -> None:
    highway, inputs = random_highway(3, 1), torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(highway(inputs).square().sum(), inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_autocast_rounds_the_matrix_products_and_leaves_results_and_gradients_in_float32() -> None:
    highway = random_highway(16, 2).float()
    inputs = torch.randn(6, 16, generator=torch.Generator().manual_seed(9)).requires_grad_()
    expected = highway(inputs)
    expected_gradients = torch.autograd.grad(expected.sum(), [inputs, *highway.parameters()])
    with torch.autocast("cpu", torch.bfloat16):
        outputs = highway(inputs)
    gradients = torch.autograd.grad(outputs.sum(), [inputs, *highway.parameters()])
    for ours, theirs in zip([outputs, *gradients], [expected, *expected_gradients], strict=True):
        assert ours.dtype == torch.float32
        assert 0 < (ours - theirs).norm() < 0.05 * theirs.norm()


def test_weights_have_these_names_and_shapes() -> None:
    assert {name: tuple(weight.shape) for name, weight in Highway(3, 1).named_parameters()} == {
        "carry_weights.0": (3, 3),
        "carry_biases.0": (3,),
        "transform_weights.0": (3, 3),
        "transform_biases.0": (3,),
    }


def float32_highway(dim: int, num_layers: int) -> Highway:
    generator = torch.Generator().manual_seed(2)
    highway = Highway(dim, num_layers)
    for parameter in highway.parameters():
        torch.nn.init.normal_(parameter, std=dim**-0.5, generator=generator)
    return highway


def with_gradients(highway: Highway, inputs: torch.Tensor) -> list[torch.Tensor]:
    inputs = inputs.clone().requires_grad_()
    outputs = highway(inputs)
    upstream = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    loss = (outputs * upstream.to(outputs.dtype)).sum()
    return [outputs.detach(), *torch.autograd.grad(loss, [inputs, *highway.parameters()])]


@pytest.mark.parametrize("dim, rows", [(32, 1), (96, 600), (40, 9)])
def test_float32_results_and_gradients_are_close_to_float64(dim: int, rows: int) -> None:
    highway, inputs = float32_highway(dim, 2), torch.randn(rows, dim, generator=torch.Generator().manual_seed(3))
    in_float32 = with_gradients(highway, inputs)
    for ours, theirs in zip(in_float32, with_gradients(highway.double(), inputs.double()), strict=True):
        assert ours.dtype == torch.float
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5 * max(1, theirs.abs().max().item()))


def test_a_nan_reaches_only_the_values_computed_from_it() -> None:
    highway, inputs = float32_highway(32, 1), torch.zeros(4, 32)
    inputs[2, 5] = float("nan")
    assert highway(inputs).isnan().any(dim=1).tolist() == [False, False, True, False]
    highway.transform_weights[0].data[5, 3] = float("nan")
    assert highway(torch.zeros(4, 32)).isnan().nonzero().tolist() == [[row, 3] for row in range(4)]


def test_inputs_of_another_width_are_refused() -> None:
    for width in (16, 64):
        with pytest.raises(RuntimeError, match="cannot be multiplied"):
            Highway(32, 1)(torch.zeros(4, width))
