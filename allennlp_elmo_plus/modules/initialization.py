"""The initial values of weights that several modules share. Each module draws its own in `reset_parameters`, as bilm-tf does.

| Parameter | Value |
|---|---|
| character embedding | U(-1, 1) |
| convolution | relu: U(-0.05, 0.05); tanh: N(0, 1 / (width * embedding_dim)) |
| highway weights, n to n | N(0, 1 / n) |
| carry bias | -2 |
| projection of n filters | N(0, 1 / n) |
| LSTM kernel and projection, word embedding | U(-b, b), b = sqrt(6 / (rows + columns)) (Glorot & Bengio 2010) |
| GRU and RNN: both weights, taken as one kernel [x; h] of all gates, and projection | U(-b, b), likewise |
| GRU: bias of the reset and the update gate | 1 (as in TensorFlow's `GRUCell`) |
| layer normalisation: gains | 1 |
| softmax weight, width D | N(0, 1 / D) |
| every other bias | 0; the forget gate's 1 is added where the LSTM runs |

N takes a variance. Weights are drawn in the order of `nn.Module.modules`, so that a seed gives the same weights in each release.
"""

import math
from typing import Optional

from torch import Tensor, nn


def glorot_uniform_(weight: Tensor, fan_sum: Optional[int] = None) -> None:
    """Fill `weight` in place from U(-b, b), b = sqrt(6 / fan_sum).

    Args:
        weight: (rows, columns).
        fan_sum: rows plus columns of the matrix that `weight` is a part of; by default those of `weight`.
    """
    bound = math.sqrt(6 / (sum(weight.shape) if fan_sum is None else fan_sum))
    nn.init.uniform_(weight, -bound, bound)


def normal_(weight: Tensor, variance: float) -> None:
    """Fill `weight` in place from N(0, `variance`)."""
    nn.init.normal_(weight, 0.0, math.sqrt(variance))
