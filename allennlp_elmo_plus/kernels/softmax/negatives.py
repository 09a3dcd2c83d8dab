"""The sample of negatives that the sampled softmax takes, and the expected count of each word in the sample."""

import math
from typing import NamedTuple

import torch


class NegativeSample(NamedTuple):
    """A sample of distinct words.

    Attributes:
        ids: Vocabulary ids, (S,) int64, ascending.
        log_expected: The log of each id's expected count in the sample (TensorFlow's term), (S,) float64.
        num_tries: The draws that it took to find S distinct ids; they determine the expected counts of all words.
    """

    ids: torch.Tensor
    log_expected: torch.Tensor
    num_tries: int


def log_expected_counts(ids: torch.Tensor, num_tries: int, vocab_size: int) -> torch.Tensor:
    """Return `log(1 - (1 - P(i)) ** num_tries)` of each id i, float64: the log Q that a sampled softmax subtracts from its logits.

    Args:
        ids: Vocabulary ids from 0 to V - 1, of any shape.
        num_tries: The number of draws from the log-uniform distribution P.
        vocab_size: V.
    """
    probs = torch.log1p(1 / (ids.double() + 1)) / math.log(vocab_size + 1)
    return torch.log(-torch.expm1(num_tries * torch.log1p(-probs)))
