"""Generalized average precision (Kishida 2005): the score of a ranking of weighted items, as Thater et al. 2010 use it for substitutes."""

from collections.abc import Sequence

import numpy as np


def generalized_average_precision(weights: Sequence[float]) -> float:
    """Return the generalized average precision of a ranking, from 0 to 1.

    With x_i the weight of the i-th ranked item, I(x) = 1 where x > 0 and 0 elsewhere, and y the weights in falling order:

        GAP = sum_i I(x_i) mean(x_1 .. x_i) / sum_i I(y_i) mean(y_1 .. y_i)

    Args:
        weights: the weight of each item, in the order of the ranking; some weight is above 0, none is below.
    """
    ranked = np.asarray(weights, dtype=float)
    return _sum_of_means(ranked) / _sum_of_means(-np.sort(-ranked))


def score_ranking(scores: np.ndarray, weights: Sequence[float]) -> float:
    """Return the generalized average precision of items that are ranked by `scores`, the highest first.

    Items with the same score stay in their order, so the order must not depend on the `weights`.
    """
    order = np.argsort(-scores, kind="stable")
    return generalized_average_precision(np.asarray(weights)[order])


def _sum_of_means(weights: np.ndarray) -> float:
    means = weights.cumsum() / np.arange(1, len(weights) + 1)
    return float(means[weights > 0].sum())
