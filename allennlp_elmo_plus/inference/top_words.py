"""The likeliest words of a vocabulary, never holding (N, V) logits."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from allennlp_elmo_plus.kernels.softmax.exact_softmax import blocks_of_logits


class TopWords(NamedTuple):
    """The `n` likeliest words of each of N places, the likeliest first."""

    ids: Tensor  # (N, n) int64, vocabulary ids from 0
    log_probs: Tensor  # (N, n), natural logarithms


@torch.no_grad()
def top_words(hidden: Tensor, weight: Tensor, bias: Tensor, num_words: int, chunk_size: int = 1024) -> TopWords:
    """The `num_words` words of the highest probability under the exact softmax of `hidden` (N, D) over `weight` (V, D) and `bias` (V).
    Holds at most N * chunk_size logits, as `exact_nll` does.

    Raises `ValueError` for a `num_words` below 1 or above V, and for a `chunk_size` below 1.
    """
    if not 1 <= num_words <= len(weight):
        raise ValueError(f"`num_words` must be from 1 to {len(weight)}, the words of the vocabulary, got {num_words}")
    if chunk_size < 1:
        raise ValueError(f"`chunk_size` must be at least 1, got {chunk_size}")
    log_totals = hidden.new_full((len(hidden),), -math.inf, dtype=torch.float64)
    sum_dtype = torch.promote_types(hidden.dtype, torch.float32)
    best = hidden.new_full((len(hidden), num_words), -math.inf, dtype=sum_dtype)
    ids = torch.zeros(len(hidden), num_words, dtype=torch.int64, device=hidden.device)
    for tokens, words, _, logits in blocks_of_logits(hidden, weight, bias, chunk_size):
        log_totals[tokens] = torch.logaddexp(log_totals[tokens], logits.logsumexp(1).double())
        highest, places = logits.topk(min(num_words, logits.shape[1]), dim=1)
        best[tokens], kept = torch.cat([best[tokens], highest], dim=1).topk(num_words, dim=1)
        ids[tokens] = torch.cat([ids[tokens], places + words.start], dim=1).gather(1, kept)
    return TopWords(ids, (best - log_totals[:, None]).to(sum_dtype))
