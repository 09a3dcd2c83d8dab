"""The maximum over a word's places, and the way back from it, as compiled loops: no place is read that a word does not need."""

import numpy as np

from .compiled import compiled


@compiled
def strongest(
    responses: np.ndarray,
    rows: np.ndarray,
    num_places: np.ndarray,
    first_filter: int,
    maxima: np.ndarray,
    winners: np.ndarray,
) -> None:
    """What `core.char_maxima._strongest` describes; `winners` with fewer rows than words is overwritten for each word."""
    num_filters = responses.shape[1]
    for word in range(rows.shape[1]):
        best = maxima[word, first_filter : first_filter + num_filters]
        winner = winners[word % len(winners), first_filter : first_filter + num_filters]
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


@compiled
def add_to_winners(grad: np.ndarray, winners: np.ndarray, first_filter: int, grad_responses: np.ndarray) -> None:
    """grad_responses[winners[word, filter], filter] += grad[word, filter], for the filters that grad_responses has."""
    for word in range(len(grad)):
        for j in range(grad_responses.shape[1]):
            grad_responses[winners[word, first_filter + j], j] += grad[word, first_filter + j]
