"""Dropout as it is defined, in plain PyTorch."""

import torch
from torch import Tensor


def dropout(inputs: Tensor, prob: float) -> Tensor:
    """Return `inputs` with each value set to 0 with probability `prob`, and all others divided by `1 - prob`.

    Args:
        inputs: Values of any shape.
        prob: Between 0 and 1, both excluded.
    """
    return inputs * (torch.rand_like(inputs) >= prob) / (1 - prob)
