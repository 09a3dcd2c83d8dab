"""Gated layers between the character convolutions and their projection."""

from functools import partial
from typing import Any, Optional

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from allennlp_elmo_plus.kernels.dtypes import common_dtype
from allennlp_elmo_plus.kernels.gemm.linear import affine_gradients, linear
from allennlp_elmo_plus.kernels.threads import run_in_threads
from allennlp_elmo_plus.modules.initialization import normal_

# The gate's initial bias, as in bilm-tf.
_CARRY_BIAS = -2.0


class Highway(nn.Module):
    """Highway layers (Srivastava et al. 2015) with bilm-tf's gate.

    With g = sigmoid(x Wc + bc), each layer returns g * relu(x Wt + bt) + (1 - g) * x. Although the gate is named "carry" in
    bilm-tf, an open gate lets the transformed value through, not x.

    Weights (dim, dim) are for x @ W, and zero until they are initialized or loaded. Under autocast products are in its type, all
    else is in the type of the inputs. The gradient of a gradient raises a `RuntimeError`.

    Args:
        dim: Width of input and output, at least 1.
        num_layers: At least 1.
    """

    def __init__(self, dim: int, num_layers: int) -> None:
        super().__init__()
        self.carry_weights = nn.ParameterList(torch.zeros(dim, dim) for _ in range(num_layers))
        self.carry_biases = nn.ParameterList(torch.zeros(dim) for _ in range(num_layers))
        self.transform_weights = nn.ParameterList(torch.zeros(dim, dim) for _ in range(num_layers))
        self.transform_biases = nn.ParameterList(torch.zeros(dim) for _ in range(num_layers))

    def reset_parameters(self) -> None:
        """Draw the initial values of all weights."""
        for weight in [*self.carry_weights, *self.transform_weights]:
            normal_(weight, 1 / len(weight))
        for bias in self.carry_biases:
            nn.init.constant_(bias, _CARRY_BIAS)
        for bias in self.transform_biases:
            nn.init.zeros_(bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the last layer's output, (U, dim) in the weights' type, for `inputs` (U, dim)."""
        inputs = inputs.to(common_dtype(self))
        layers = zip(self.carry_weights, self.carry_biases, self.transform_weights, self.transform_biases, strict=True)
        device_type = inputs.device.type
        autocast = torch.is_autocast_enabled(device_type)
        with torch.autocast(device_type, enabled=False):
            for weights in layers:
                dtype = torch.get_autocast_dtype(device_type) if autocast else inputs.dtype
                inputs = _HighwayLayer.apply(inputs, dtype, *weights)
        return inputs


class _HighwayLayer(torch.autograd.Function):
    """One layer. Gate and transformed value share nothing but their inputs, and are computed in parallel threads."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        dtype: torch.dtype,
        carry_weight: Tensor,
        carry_bias: Tensor,
        transform_weight: Tensor,
        transform_bias: Tensor,
    ) -> Tensor:
        carry, transform = carry_weight.to(dtype), transform_weight.to(dtype)
        gate, transformed = run_in_threads(
            [
                lambda: linear(inputs, carry, carry_bias).sigmoid_(),
                lambda: linear(inputs, transform, transform_bias).relu_(),
            ],
            inputs.device,
        )
        ctx.save_for_backward(inputs, carry, transform, gate, transformed)
        return gate * transformed + (1 - gate) * inputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        inputs, carry, transform, gate, transformed = ctx.saved_tensors
        needs_inputs, _, *needs_weights = ctx.needs_input_grad
        carry_gradients, transform_gradients = run_in_threads(
            [
                partial(_carry_backward, inputs, carry, gate, transformed, grad, needs_inputs, *needs_weights[:2]),
                partial(
                    _transform_backward, inputs, transform, gate, transformed, grad, needs_inputs, *needs_weights[2:]
                ),
            ],
            grad.device,
        )
        grad_inputs, *grad_carry = carry_gradients
        grad_inputs_of_transform, *grad_transform = transform_gradients
        if grad_inputs is not None and grad_inputs_of_transform is not None:
            grad_inputs.add_(grad_inputs_of_transform).add_(grad).addcmul_(grad, gate, value=-1)
        return (grad_inputs, None, *grad_carry, *grad_transform)


def _carry_backward(
    inputs: Tensor, weight: Tensor, gate: Tensor, transformed: Tensor, grad: Tensor, *needs: bool
) -> tuple[Optional[Tensor], ...]:
    grad_sums = (transformed - inputs).mul_(grad)
    return affine_gradients(inputs, weight, torch.ops.aten.sigmoid_backward(grad_sums, gate), *needs)


def _transform_backward(
    inputs: Tensor, weight: Tensor, gate: Tensor, transformed: Tensor, grad: Tensor, *needs: bool
) -> tuple[Optional[Tensor], ...]:
    return affine_gradients(inputs, weight, torch.ops.aten.threshold_backward(grad * gate, transformed, 0), *needs)
