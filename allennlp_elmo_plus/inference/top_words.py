"""Find the most probable words of a vocabulary without storing all (N, V) logits."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from allennlp_elmo_plus.errors import check_at_least
from allennlp_elmo_plus.kernels.softmax.exact_softmax import blocks_of_logits


class TopWords(NamedTuple):
    """The n most probable words at each of N positions, the most probable first."""

    ids: Tensor  # (N, n) int64, from 0
    log_probs: Tensor  # (N, n), natural logarithms


class ProbableWord(NamedTuple):
    """A word and its probability at a position."""

    word: str
    probability: float


def probable_words(ids: Tensor, log_probs: Tensor, vocabulary: Sequence[str]) -> list[ProbableWord]:
    """Return the words of `vocabulary` with `ids` (n,), each with the exponential of its number in `log_probs` (n,)."""
    return [
        ProbableWord(vocabulary[word_id], math.exp(log_prob))
        for word_id, log_prob in zip(ids.tolist(), log_probs.tolist(), strict=True)
    ]


@torch.no_grad()
def top_words(hidden: Tensor, weight: Tensor, bias: Tensor, num_words: int, chunk_size: int = 1024) -> TopWords:
    """Return the `num_words` most probable words under the exact softmax.

    Args:
        hidden: (N, D), the input of the softmax.
        weight: (V, D).
        bias: (V,).
        num_words: n, from 1 to V.
        chunk_size: the words of the vocabulary whose logits are in memory together, (N, chunk_size), as in `exact_nll`.

    Raises:
        ValueError: `num_words` is not from 1 to V.
        InputError: `chunk_size` is below 1.
    """
    if not 1 <= num_words <= len(weight):
        raise ValueError(f"`num_words` must be from 1 to {len(weight)}, the words of the vocabulary, got {num_words}")
    check_at_least(1, chunk_size=chunk_size)
    log_totals = hidden.new_full((len(hidden),), -math.inf, dtype=torch.float64)
    sum_dtype = torch.promote_types(hidden.dtype, torch.float32)
    best = hidden.new_full((len(hidden), num_words), -math.inf, dtype=sum_dtype)
    ids = torch.zeros(len(hidden), num_words, dtype=torch.int64, device=hidden.device)
    for tokens, words, _, logits in blocks_of_logits(hidden, weight, bias, chunk_size):
        log_totals[tokens] = torch.logaddexp(log_totals[tokens], logits.logsumexp(1).double())
        highest, columns = logits.topk(min(num_words, logits.shape[1]), dim=1)
        best[tokens], order = torch.cat([best[tokens], highest], dim=1).topk(num_words, dim=1)
        ids[tokens] = torch.cat([ids[tokens], columns + words.start], dim=1).gather(1, order)
    return TopWords(ids, (best - log_totals[:, None]).to(sum_dtype))
