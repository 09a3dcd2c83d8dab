"""The character convolution with its maximum as it is defined, in plain PyTorch that autograd differentiates."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def conv_max_pool(characters: Tensor, embedding: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """Return the maximum of each filter over all positions of each word, (U, num_filters).

    This is the character CNN of Peters et al. 2018 (section 3.4) before its activation: a convolution without padding at the ends.

    Args:
        characters: Character ids from 1 on, (U, C).
        embedding: Vector of each character, (number of characters, d); row 0 belongs to id 1.
        weights: Filters of each width, (number of filters, d, width).
        biases: Bias of each filter, (number of filters,).
    """
    embedded = F.embedding(characters.long() - 1, embedding).transpose(1, 2)
    responses = (F.conv1d(embedded, weight, bias) for weight, bias in zip(weights, biases, strict=True))
    return torch.cat([response.max(dim=2).values for response in responses], dim=1)
