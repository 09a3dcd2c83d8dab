"""A sample of negatives, as the sampled softmax takes it, and the expected count of each word in it."""

import math
from typing import NamedTuple

import torch


class NegativeSample(NamedTuple):
    """`ids` (S,) int64: distinct vocabulary ids, ascending.
    `log_expected` (S,) float64: log of the chance that the sample holds each of them (TensorFlow's expected count).
    `num_tries`: draws it took to find S distinct ids; it gives the expected counts of the targets too.
    """

    ids: torch.Tensor
    log_expected: torch.Tensor
    num_tries: int


def log_expected_counts(ids: torch.Tensor, num_tries: int, vocab_size: int) -> torch.Tensor:
    """`log(1 - (1 - P(i)) ** num_tries)` for each of `ids` (any shape, 0..V-1), float64, on the device of `ids`: the -log
    Q correction of the sampled softmax.
    """
    probs = torch.log1p(1 / (ids.double() + 1)) / math.log(vocab_size + 1)
    return torch.log(-torch.expm1(num_tries * torch.log1p(-probs)))
