"""The maximum over the positions of a word, the gathering of its gradient, and the characters' gradient, as compiled kernels.

No position is read that a word does not need. `W` is the number of distinct n-grams, `U` of words.
"""

import numpy as np

from allennlp_elmo_plus.kernels.jit import jit


@jit
def max_over_positions(
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
        word_max[:] = responses[index[0, word]]
        word_argmax[:] = index[0, word]
        for position in range(1, num_positions[word]):
            ngram = index[position, word]
            candidates = responses[ngram]
            for j in range(num_filters):
                # NaN is a maximum, and stays one.
                is_greater = candidates[j] > word_max[j] or candidates[j] != candidates[j]
                word_max[j] = candidates[j] if is_greater else word_max[j]
                word_argmax[j] = ngram if is_greater else word_argmax[j]


@jit
def scatter_to_argmax(
    grad: np.ndarray,  # IN (U, num_filters)
    argmax: np.ndarray,  # IN (U, num_filters)
    first_filter: int,
    grad_responses: np.ndarray,  # IN and OUT (W, n)
) -> None:
    """Add `grad[word, first_filter + j]` to `grad_responses[argmax[word, first_filter + j], j]`."""
    for word in range(len(grad)):
        for j in range(grad_responses.shape[1]):
            grad_responses[argmax[word, first_filter + j], j] += grad[word, first_filter + j]


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
