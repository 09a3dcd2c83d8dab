"""The ways to score candidates: a function of an item for each, whose highest score ranks first."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from examples.word_choice.bilm import Evidence
from examples.word_choice.combine import COMBINATIONS, combine

Scorer = Callable[[Evidence, np.ndarray], np.ndarray]


def _mean_of_layers(evidence: Evidence) -> np.ndarray:
    return evidence.layers[1:].mean(0)


def _combined(way: str) -> Scorer:
    """Return the scorer of `combine` with the two contexts of a biLM, the words before and the words after."""
    return lambda evidence, log_prior: combine(
        _mean_of_layers(evidence), np.stack([evidence.forward_cosine, evidence.backward_cosine]), way
    )


def _best_of_both(share: float, weight: float) -> Scorer:
    return lambda evidence, log_prior: (
        evidence.forward + evidence.backward - share * log_prior + weight * _mean_of_layers(evidence)
    )


# `log_prior` is the log-probability of each candidate without context.
SCORERS: Mapping[str, Scorer] = {
    "frequency": lambda evidence, log_prior: log_prior,
    "forward": lambda evidence, log_prior: evidence.forward,
    "backward": lambda evidence, log_prior: evidence.backward,
    "geometric mean": lambda evidence, log_prior: evidence.forward + evidence.backward,
    "arithmetic mean": lambda evidence, log_prior: np.logaddexp(evidence.forward, evidence.backward),
    "Bayes": lambda evidence, log_prior: evidence.forward + evidence.backward - log_prior,
    "sentence": lambda evidence, log_prior: evidence.sentence,
    "layer 0": lambda evidence, log_prior: evidence.layers[0],
    "layer 1": lambda evidence, log_prior: evidence.layers[1],
    "layer 2": lambda evidence, log_prior: evidence.layers[2],
    "mean of layers": lambda evidence, log_prior: evidence.layers.mean(0),
    **{way: _combined(way) for way in COMBINATIONS},
}

# The scorers with numbers that are chosen on the trial items.
CHOSEN: Mapping[str, tuple[Callable[..., Scorer], Sequence[Sequence[float]]]] = {
    "mix of layers": (
        lambda first, second: (
            lambda evidence, log_prior: np.array([1 - first - second, first, second]) @ evidence.layers
        ),
        [pair for pair in product(np.arange(0, 1.01, 0.1), repeat=2) if sum(pair) < 1.001],
    ),
    "weighted Bayes": (lambda share: _best_of_both(share, 0.0), [(share,) for share in np.arange(0, 1.01, 0.1)]),
    "weighted Bayes and similarity": (
        _best_of_both,
        list(product(np.arange(0, 1.01, 0.1), [0, 1, 2, 4, 8, 16, 32, 64])),
    ),
}


def candidates_of(name: str) -> Iterator[tuple[dict[str, Any], Scorer]]:
    """Yield the scorers of the way `name` with their numbers: one, or all of which the best on the trial items is to be chosen."""
    if name in SCORERS:
        yield {}, SCORERS[name]
        return
    make, grid = CHOSEN[name]
    for numbers in grid:
        yield {"numbers": [round(float(number), 3) for number in numbers]}, make(*numbers)
