"""Measure how different the usages of a word in two corpora are.

The measures are those of Kutuzov and Giulianelli 2020, "UiO-UvA at SemEval-2020 Task 1". Vectors are arrays (n, K), of n usages.
"""

from collections.abc import Sequence

import numpy as np

from allennlp_elmo_plus.inference.pooling import unit_vectors


def average_pairwise_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return APD: the mean cosine distance, 1 - cosine, over all pairs of a usage of `first` and a usage of `second`."""
    # The mean over pairs of a product is the product of the means.
    return _distance(unit_vectors(first).mean(0) @ unit_vectors(second).mean(0))


def prototype_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return PRT: 1 - the cosine of the mean vectors of `first` and `second`; the paper has 1 / cosine."""
    prototypes = unit_vectors(np.stack([first.mean(0), second.mean(0)]))
    return _distance(prototypes[0] @ prototypes[1])


def jensen_shannon_divergence(first: Sequence[int], second: Sequence[int]) -> float:
    """Return JSD in bits, from 0 (same shares) to 1 (no cluster in common).

    Args:
        first: how many usages of the first corpus are in each cluster; at least one usage in total.
        second: the same for the second corpus.
    """
    shares = np.array([first, second], dtype=float)
    shares /= shares.sum(1, keepdims=True)
    mean = shares.mean(0)
    ratios = np.divide(shares, mean, out=np.ones_like(shares), where=shares > 0)
    return float((shares * np.log2(ratios)).sum() / 2)


def _distance(cosine: float) -> float:
    # Rounding can take a cosine of equal vectors above 1.
    return max(0.0, float(1 - cosine))
