"""The maximum of each filter's responses over the positions of a word, and the n-gram that has it, by PyTorch's operations."""

import math
from typing import Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.kernels.char_conv._ngrams import Ngrams

# PyTorch's number of the mode "max".
_MAX_MODE = 2


def max_over_positions(
    responses: Tensor, ngrams: Ngrams, width: int, first_filter: int, maxima: Tensor, argmax: Optional[Tensor]
) -> None:
    """Fill n columns of `maxima` and `argmax` from `first_filter` on; the first position that has the maximum is the argmax.

    Args:
        responses: The responses of n filters to the distinct n-grams, (W, n).
        ngrams: The n-grams of U words.
        width: The width of the filters.
        first_filter: The first column to fill.
        maxima: The maxima of all filters, (U, num_filters).
        argmax: Likewise the n-grams; None where no backward pass comes.
    """
    fill = _by_position if responses.device.type == "cpu" else _all_at_once
    columns = slice(first_filter, first_filter + responses.shape[1])
    fill(responses, ngrams, width, maxima[:, columns], None if argmax is None else argmax[:, columns])


def _by_position(responses: Tensor, ngrams: Ngrams, width: int, maxima: Tensor, argmax: Optional[Tensor]) -> None:
    index = ngrams.index
    max_so_far = responses.index_select(0, index[0])
    argmax_so_far = index[0].unsqueeze(1).repeat(1, responses.shape[1])
    for position in ngrams.positions_after_first(width):
        first_word = ngrams.first_words[position]
        ids = index[position, first_word:]
        candidates, maxima_of_words = responses.index_select(0, ids), max_so_far[first_word:]
        if argmax is not None:
            is_greater = candidates > maxima_of_words
            argmax_so_far[first_word:] = torch.where(is_greater, ids.unsqueeze(1), argmax_so_far[first_word:])
        torch.maximum(maxima_of_words, candidates, out=maxima_of_words)
    maxima.copy_(max_so_far)
    if argmax is not None:
        argmax.copy_(argmax_so_far)


def _all_at_once(responses: Tensor, ngrams: Ngrams, width: int, maxima: Tensor, argmax: Optional[Tensor]) -> None:
    """Fill in a few launches, for an accelerator: by position there are a thousand, which take longer than their arithmetic.

    On a CPU, PyTorch computes this in one thread, and takes as long as by position, or three times as long without `argmax`.
    """
    # The comparisons of `_embedding_bag` would pass over NaN.
    comparable = responses.nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf)
    ngram_of_max = torch._embedding_bag(comparable, *ngrams.by_word(width), mode=_MAX_MODE)[3]
    maxima.copy_(responses.gather(0, ngram_of_max))
    if argmax is not None:
        argmax.copy_(ngram_of_max)
