"""The maximum over a word's places, and the way back from it, as compiled loops: no place is read that a word does not need. With the
products of filters and windows, or without them.
"""

import numpy as np

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

# Filters whose responses are computed together: few enough that they are still near when the strongest are looked for.
FILTERS = 2 * NR

# Windows whose part of the filters' gradient is computed at once: so many of a panel stay in a near cache.
WINDOWS = 512


def _strongest(
    responses: np.ndarray,
    rows: np.ndarray,
    num_places: np.ndarray,
    first_filter: int,
    maxima: np.ndarray,
    argmax: np.ndarray,
) -> None:
    """What `kernels.char_conv.conv_max_pool._strongest` describes; `argmax` with fewer rows than words is overwritten
    for each word.
    """
    num_filters = responses.shape[1]
    for word in range(rows.shape[1]):
        best = maxima[word, first_filter : first_filter + num_filters]
        winner = argmax[word % len(argmax), first_filter : first_filter + num_filters]
        best[:] = responses[rows[0, word]]
        winner[:] = rows[0, word]
        for place in range(1, num_places[word]):
            row = rows[place, word]
            candidates = responses[row]
            for j in range(num_filters):
                # A place that is not a number wins, and none takes its place.
                wins = candidates[j] > best[j] or candidates[j] != candidates[j]
                best[j] = candidates[j] if wins else best[j]
                winner[j] = row if wins else winner[j]


strongest, inlined_strongest = jit(_strongest), jit_inline(_strongest)


def _add_to_winners(grad: np.ndarray, argmax: np.ndarray, first_filter: int, grad_responses: np.ndarray) -> None:
    """grad_responses[winners[word, filter], filter] += grad[word, filter], for the filters that grad_responses has."""
    for word in range(len(grad)):
        for j in range(grad_responses.shape[1]):
            grad_responses[argmax[word, first_filter + j], j] += grad[word, first_filter + j]


add_to_winners, inlined_add_to_winners = jit(_add_to_winners), jit_inline(_add_to_winners)


@jit_inline
def _as_matrix(weight: np.ndarray) -> np.ndarray:
    """Filters (n, d, width) as rows (n, width * d)."""
    num_filters, size, width = weight.shape
    matrix = np.empty((num_filters, width * size), F)
    for j in range(num_filters):
        for place in range(width):
            for k in range(size):
                matrix[j, place * size + k] = weight[j, k, place]
    return matrix


@jit
def conv_forward(
    embedded: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    rows: np.ndarray,
    num_places: np.ndarray,
    first_filter: int,
    maxima: np.ndarray,
    argmax: np.ndarray,
) -> None:
    """`strongest` of the responses of filters (n, d, width) to windows, `embedded` (W, at least width * d)."""
    num_filters = len(weight)
    panels = pack_b(_as_matrix(weight).T.copy())
    start = np.zeros(len(panels) * NR, F)
    start[:num_filters] = bias
    responses = np.empty((len(embedded), FILTERS), F)
    for first in range(0, num_filters, FILTERS):
        last = min(first + FILTERS, num_filters)
        gemm_packed(embedded, panels[first // NR : -(-last // NR)], start[first:], responses)
        inlined_strongest(responses[:, : last - first], rows, num_places, first_filter + first, maxima, argmax)


@jit
def conv_backward(
    embedded: np.ndarray,
    weight: np.ndarray,
    grad: np.ndarray,
    argmax: np.ndarray,
    first_filter: int,
    grad_embedded: np.ndarray,
    grad_weight: np.ndarray,
) -> None:
    """From `grad` (U, num_filters) the gradient of `conv_forward`'s filters; to grad_embedded that of what they see is added."""
    num_filters, size, width = weight.shape
    num_windows, seen = len(embedded), width * size
    matrix = pack_b(_as_matrix(weight))
    grad_responses = np.zeros((num_windows, -(-num_filters // NR) * NR), F)
    inlined_add_to_winners(grad, argmax, first_filter, grad_responses[:, :num_filters])
    zeros, grad_seen = np.zeros(len(matrix) * NR, F), np.empty((WINDOWS, len(matrix) * NR), F)
    columns = np.empty((-(-seen // MR), WINDOWS, MR), F)
    panels = np.empty((grad_responses.shape[1] // NR, WINDOWS, NR), F)
    grad_matrix = np.zeros((seen, grad_responses.shape[1]), F)
    for first in range(0, num_windows, WINDOWS):
        block = grad_responses[first : first + WINDOWS]
        gemm_packed(block[:, :num_filters], matrix, zeros, grad_seen)
        for window in range(len(block)):
            for k in range(seen):
                grad_embedded[first + window, k] += grad_seen[window, k]
        pack_a(embedded[first : first + WINDOWS, :seen], columns, 0)
        pack_b_rows(block, panels, 0)
        gemm_tn_accumulate(columns[:, : len(block)], panels[:, : len(block)], grad_matrix)
    for j in range(num_filters):
        for place in range(width):
            for k in range(size):
                grad_weight[j, k, place] = grad_matrix[place * size + k, j]


@jit
def add_to_characters(windows: np.ndarray, grad_embedded: np.ndarray, grad_embedding: np.ndarray) -> None:
    """Adds the gradient of windows (W, width), whose characters count from 1, to that of the characters' vectors (A, d)."""
    size = grad_embedding.shape[1]
    for window in range(len(windows)):
        for place in range(windows.shape[1]):
            target, source = grad_embedding[windows[window, place] - 1], grad_embedded[window, place * size :]
            for k in range(size):
                target[k] += source[k]
