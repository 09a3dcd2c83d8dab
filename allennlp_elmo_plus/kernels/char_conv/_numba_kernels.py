"""The convolution over characters and its maximum, with their backward passes, as compiled kernels.

No position is read that a word does not need. `W` is the number of distinct n-grams, `U` of words.
"""

import numpy as np

from allennlp_elmo_plus.kernels._elementwise import copy_vector
from allennlp_elmo_plus.kernels.gemm._microkernel import MR, NR
from allennlp_elmo_plus.kernels.gemm._packing import (
    gemm_packed,
    gemm_tn_accumulate,
    pack_a,
    pack_b,
    pack_b_rows,
)
from allennlp_elmo_plus.kernels.jit import jit, jit_inline

F = np.float32

# Filters whose responses are computed together: few enough that the responses are still in the cache when maxima are taken.
FILTERS = 2 * NR

# N-grams whose part of the filters' gradient is computed at once: that many rows of a panel stay in a near cache.
NGRAMS = 512


def _max_over_positions(
    responses: np.ndarray,  # IN (W, n)
    index: np.ndarray,  # IN (positions, U)
    num_positions: np.ndarray,  # IN (U,)
    first_filter: int,
    maxima: np.ndarray,  # OUT (U, num_filters), n columns from first_filter on
    argmax: np.ndarray,  # OUT (U, num_filters), or (1, num_filters) as scratch space
) -> None:
    """Compute the maximum over the positions of each word, and the n-gram at the first position that has it."""
    num_filters = responses.shape[1]
    for word in range(index.shape[1]):
        word_max = maxima[word, first_filter : first_filter + num_filters]
        word_argmax = argmax[word % len(argmax), first_filter : first_filter + num_filters]
        copy_vector(word_max, responses[index[0, word]])
        word_argmax[:] = index[0, word]
        for position in range(1, num_positions[word]):
            ngram = index[position, word]
            candidates = responses[ngram]
            for j in range(num_filters):
                # NaN is a maximum, and stays one.
                is_greater = candidates[j] > word_max[j] or candidates[j] != candidates[j]
                word_max[j] = candidates[j] if is_greater else word_max[j]
                word_argmax[j] = ngram if is_greater else word_argmax[j]


max_over_positions, _max_inline = jit(_max_over_positions), jit_inline(_max_over_positions)


def _scatter_to_argmax(
    grad: np.ndarray,  # IN (U, num_filters)
    argmax: np.ndarray,  # IN (U, num_filters)
    first_filter: int,
    grad_responses: np.ndarray,  # IN and OUT (W, n)
) -> None:
    """Add `grad[word, first_filter + j]` to `grad_responses[argmax[word, first_filter + j], j]`."""
    for word in range(len(grad)):
        for j in range(grad_responses.shape[1]):
            grad_responses[argmax[word, first_filter + j], j] += grad[word, first_filter + j]


scatter_to_argmax, _scatter_inline = jit(_scatter_to_argmax), jit_inline(_scatter_to_argmax)


@jit_inline
def _as_matrix(weight: np.ndarray) -> np.ndarray:
    """Return filters (n, d, width) as rows (n, width * d)."""
    num_filters, size, width = weight.shape
    matrix = np.empty((num_filters, width * size), F)
    for j in range(num_filters):
        for position in range(width):
            for k in range(size):
                matrix[j, position * size + k] = weight[j, k, position]
    return matrix


@jit
def conv_forward(
    embedded: np.ndarray,  # IN (W, at least width * d)
    weight: np.ndarray,  # IN (n, d, width)
    bias: np.ndarray,  # IN (n,)
    index: np.ndarray,  # IN (positions, U)
    num_positions: np.ndarray,  # IN (U,)
    first_filter: int,
    maxima: np.ndarray,  # OUT, as in max_over_positions
    argmax: np.ndarray,  # OUT, as in max_over_positions
) -> None:
    """Compute `max_over_positions` of the filters' responses to the n-grams."""
    num_filters = len(weight)
    panels = pack_b(_as_matrix(weight).T.copy())
    padded_bias = np.zeros(len(panels) * NR, F)
    copy_vector(padded_bias, bias)
    responses = np.empty((len(embedded), FILTERS), F)
    for first in range(0, num_filters, FILTERS):
        last = min(first + FILTERS, num_filters)
        gemm_packed(embedded, panels[first // NR : -(-last // NR)], padded_bias[first:], responses)
        _max_inline(responses[:, : last - first], index, num_positions, first_filter + first, maxima, argmax)


@jit
def conv_backward(
    embedded: np.ndarray,  # IN (W, at least width * d)
    weight: np.ndarray,  # IN (n, d, width)
    grad: np.ndarray,  # IN (U, num_filters)
    argmax: np.ndarray,  # IN (U, num_filters)
    first_filter: int,
    grad_embedded: np.ndarray,  # IN and OUT (W, at least width * d)
    grad_weight: np.ndarray,  # OUT (n, d, width)
) -> None:
    """Compute the gradient of the filters, and add the gradient of the characters that they read to `grad_embedded`."""
    num_filters, size, width = weight.shape
    num_ngrams, num_read = len(embedded), width * size
    weight_panels = pack_b(_as_matrix(weight))
    grad_responses = np.zeros((num_ngrams, -(-num_filters // NR) * NR), F)
    _scatter_inline(grad, argmax, first_filter, grad_responses[:, :num_filters])
    zeros, grad_read = np.zeros(len(weight_panels) * NR, F), np.empty((NGRAMS, len(weight_panels) * NR), F)
    columns = np.empty((-(-num_read // MR), NGRAMS, MR), F)
    panels = np.empty((grad_responses.shape[1] // NR, NGRAMS, NR), F)
    grad_matrix = np.zeros((num_read, grad_responses.shape[1]), F)
    for first in range(0, num_ngrams, NGRAMS):
        block = grad_responses[first : first + NGRAMS]
        gemm_packed(block[:, :num_filters], weight_panels, zeros, grad_read)
        for ngram in range(len(block)):
            for k in range(num_read):
                grad_embedded[first + ngram, k] += grad_read[ngram, k]
        pack_a(embedded[first : first + NGRAMS, :num_read], columns, 0)
        pack_b_rows(block, panels, 0)
        gemm_tn_accumulate(columns[:, : len(block)], panels[:, : len(block)], grad_matrix)
    for j in range(num_filters):
        for position in range(width):
            for k in range(size):
                grad_weight[j, k, position] = grad_matrix[position * size + k, j]


@jit
def embed_backward(
    characters: np.ndarray,  # IN (W, width), ids from 1
    grad_embedded: np.ndarray,  # IN (W, width * d)
    grad_embedding: np.ndarray,  # IN and OUT (A, d)
) -> None:
    """Add the gradient of the n-grams' characters to `grad_embedding`."""
    size = grad_embedding.shape[1]
    for ngram in range(len(characters)):
        for position in range(characters.shape[1]):
            total = grad_embedding[characters[ngram, position] - 1]
            summand = grad_embedded[ngram, position * size :]
            for k in range(size):
                total[k] += summand[k]
