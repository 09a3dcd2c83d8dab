"""Dropout as one compiled loop, whose random bits come from counting: a hash of each value's place and of a key."""

import numpy as np

from allennlp_elmo_plus.kernels.jit import jit, jit_inline


@jit_inline
def _mixed(x: np.uint32) -> np.uint32:
    # Every bit of the result depends on every one of x; constants found by search (C. Wellons, "Prospecting for hash functions").
    # What numba computes with is wider unless it is told each time.
    x = np.uint32((x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D))
    x = np.uint32((x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.uint32(x ^ (x >> np.uint32(16)))


@jit
def drop_out(
    values: np.ndarray,
    out: np.ndarray,
    first_key: np.uint32,
    second_key: np.uint32,
    lowest_kept: np.uint32,
    factor: np.float32,
) -> None:
    """Out = values * factor where the place's random number is at least `lowest_kept`, else 0."""
    for place in range(len(values)):
        number = _mixed(np.uint32(_mixed(np.uint32(np.uint32(place) ^ first_key)) ^ second_key))
        out[place] = values[place] * (factor if number >= lowest_kept else np.float32(0))
