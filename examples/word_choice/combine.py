"""Combine how similar a candidate is to the target and to each of its contexts, as Melamud et al. 2015 do."""

import numpy as np

COMBINATIONS = ("add", "balanced add", "mult", "balanced mult")


def combine(near_target: np.ndarray, near_contexts: np.ndarray, way: str) -> np.ndarray:
    """Return a score for each of n candidates.

    "add" is the arithmetic mean of the cosines. "mult" is the geometric mean of (cosine + 1) / 2; its logarithm is returned.
    In both, the target counts as much as one context, or, if "balanced", as much as all contexts.

    Args:
        near_target: (n,), the cosine of each candidate with the target.
        near_contexts: (C, n), the cosine of each candidate with each of C contexts.
        way: one of `COMBINATIONS`.
    """
    num_contexts = len(near_contexts)
    weight = max(1, num_contexts) if way.startswith("balanced") else 1
    if way.endswith("mult"):
        near_target, near_contexts = (
            np.log(np.maximum((cosines + 1) / 2, 1e-9)) for cosines in (near_target, near_contexts)
        )
    return (weight * near_target + near_contexts.sum(0)) / (weight + num_contexts)
