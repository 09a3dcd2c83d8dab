"""The definition of a highway layer's element-wise part, in plain PyTorch."""

from torch import Tensor


def combine(carry_sums: Tensor, transform_sums: Tensor, inputs: Tensor) -> Tensor:
    """Return g * relu(transform_sums) + (1 - g) * inputs with g = sigmoid(carry_sums), all (U, dim) (Srivastava et al. 2015)."""
    gate = carry_sums.sigmoid()
    return gate * transform_sums.relu() + (1 - gate) * inputs
