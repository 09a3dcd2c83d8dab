"""Gated layers between the character convolutions and their projection."""

import torch
from torch import Tensor, nn

from .products import affine


class Highway(nn.Module):
    """
    Highway layers (Srivastava et al. 2015) with bilm-tf's gate: g = sigmoid(x Wc + bc), and each layer returns
    g * relu(x Wt + bt) + (1 - g) * x. The gate named "carry" there lets the transformed value through, not x.

    dim: width of input and output; num_layers: at least 1, else a ValueError. Weights, (dim, dim) for x @ W, start at
    zero.
    """

    def __init__(self, dim: int, num_layers: int) -> None:
        super().__init__()
        if dim < 1:
            raise ValueError(f"`dim` must be at least 1, got {dim}")
        if num_layers < 1:
            raise ValueError(f"`num_layers` must be at least 1, got {num_layers}")
        self.carry_weights = nn.ParameterList(torch.zeros(dim, dim) for _ in range(num_layers))
        self.carry_biases = nn.ParameterList(torch.zeros(dim) for _ in range(num_layers))
        self.transform_weights = nn.ParameterList(torch.zeros(dim, dim) for _ in range(num_layers))
        self.transform_biases = nn.ParameterList(torch.zeros(dim) for _ in range(num_layers))

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs: (U, dim) -> (U, dim)."""
        layers = zip(self.carry_weights, self.carry_biases, self.transform_weights, self.transform_biases, strict=True)
        for carry_weight, carry_bias, transform_weight, transform_bias in layers:
            gate = affine(inputs, carry_weight, carry_bias).sigmoid()
            transformed = affine(inputs, transform_weight, transform_bias).relu()
            inputs = gate * transformed + (1 - gate) * inputs
        return inputs
