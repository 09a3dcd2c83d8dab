"""The distances of two sets of vectors, compared with their definitions."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import cosine, jensenshannon

from allennlp_elmo_plus.usages.measures import (
    average_pairwise_distance,
    jensen_shannon_divergence,
    prototype_distance,
    unit_vectors,
)

RANDOM = np.random.default_rng(3)
FIRST, SECOND = RANDOM.normal(1, 2, (5, 4)).astype(np.float32), RANDOM.normal(0, 3, (7, 4)).astype(np.float32)


def test_the_average_pairwise_distance_is_the_mean_over_all_pairs() -> None:
    pairs = [cosine(first, second) for first in FIRST.astype(float) for second in SECOND.astype(float)]
    assert average_pairwise_distance(FIRST, SECOND) == pytest.approx(np.mean(pairs))
    assert average_pairwise_distance(np.eye(2)[:1], np.eye(2)[1:]) == 1


def test_the_prototype_distance_is_that_of_the_means() -> None:
    expected = cosine(FIRST.mean(0), SECOND.mean(0))
    assert prototype_distance(FIRST, SECOND) == pytest.approx(expected, abs=1e-6)
    assert prototype_distance(FIRST, FIRST * 3) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("first, second", [((3, 1, 0), (2, 2, 5)), ((1, 1), (10, 10)), ((4, 0), (0, 2)), ((5,), (7,))])
def test_the_divergence_is_that_of_scipy(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    expected = jensenshannon(first, second, base=2) ** 2
    assert jensen_shannon_divergence(first, second) == pytest.approx(expected, abs=1e-12)


def test_the_divergence_is_in_bits() -> None:
    assert jensen_shannon_divergence((4, 0), (0, 2)) == 1
    # Half of log2(1 / (3/4)) and of log2((1/2) / (3/4)) / 2 + log2((1/2) / (1/4)) / 2.
    assert jensen_shannon_divergence((2, 0), (3, 3)) == pytest.approx(
        (math.log2(4 / 3) + math.log2(2 / 3) / 2 + 0.5) / 2
    )


def test_vectors_of_zeros_stay() -> None:
    np.testing.assert_array_equal(unit_vectors(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0.0, 0.0]])
