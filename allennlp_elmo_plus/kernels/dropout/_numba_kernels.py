"""Dropout as a compiled kernel with a counter-based random generator: a hash of a value's index and of two keys."""

import numpy as np

from allennlp_elmo_plus.kernels.jit import jit, jit_inline


@jit_inline
def _hash(x: np.uint32) -> np.uint32:
    # Each bit of the result depends on each bit of x; the constants were found by search (C. Wellons, "Prospecting for hash
    # functions"). numba computes with 64 bits unless each intermediate value is converted.
    x = np.uint32((x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D))
    x = np.uint32((x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.uint32(x ^ (x >> np.uint32(16)))


@jit
def dropout(
    values: np.ndarray,  # IN (N,)
    out: np.ndarray,  # OUT (N,)
    first_key: np.uint32,
    second_key: np.uint32,
    threshold: np.uint32,
    scale: np.float32,
) -> None:
    """Set `out[i]` to `values[i] * scale` where the random number of i is at least `threshold`, else to 0."""
    for i in range(len(values)):
        random = _hash(np.uint32(_hash(np.uint32(np.uint32(i) ^ first_key)) ^ second_key))
        out[i] = values[i] * (scale if random >= threshold else np.float32(0))
