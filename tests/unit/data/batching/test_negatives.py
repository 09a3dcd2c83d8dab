import math
from collections import Counter

import numpy as np
import pytest
import torch

from allennlp_elmo_plus.data.batching import negatives
from allennlp_elmo_plus.data.batching.negatives import LogUniformSampler
from allennlp_elmo_plus.kernels.softmax.negatives import log_expected_counts


def log_uniform_probs(vocab_size):
    return np.array([math.log((i + 2) / (i + 1)) / math.log(vocab_size + 1) for i in range(vocab_size)])


def rejection_sample(vocab_size, num_samples, rng):
    """Draw one id after the other, and reject repeated ids: the definition."""
    probs, ids, num_tries = log_uniform_probs(vocab_size), set(), 0
    while len(ids) < num_samples:
        ids.add(int(rng.choice(vocab_size, p=probs)))
        num_tries += 1
    return tuple(sorted(ids)), num_tries


def chi_square(observed, expected):
    observed, expected = np.asarray(observed, dtype=float), np.asarray(expected, dtype=float)
    return ((observed - expected) ** 2 / expected).sum()


def test_single_draws_follow_the_log_uniform_distribution():
    sampler = LogUniformSampler(6, 1)
    rng = np.random.default_rng(0)
    num_draws = 20000
    counts = Counter(int(sampler.sample(rng).ids) for _ in range(num_draws))
    # With 5 degrees of freedom, 20.5 is exceeded once in 1,000.
    assert chi_square([counts[i] for i in range(6)], num_draws * log_uniform_probs(6)) < 20.5


@pytest.mark.parametrize("draws_per_round", [None, 3])
def test_sets_and_tries_follow_the_distribution_of_rejection_sampling(draws_per_round):
    sampler = LogUniformSampler(5, 3)
    if draws_per_round is not None:
        # Makes several rounds necessary.
        sampler._draws_per_round = draws_per_round
    rng, oracle_rng, num_samples = np.random.default_rng(1), np.random.default_rng(2), 6000
    ours, oracle = Counter(), Counter()
    for _ in range(num_samples):
        sample = sampler.sample(rng)
        ours[tuple(sample.ids.tolist()), min(sample.num_tries, 6)] += 1
        ids, num_tries = rejection_sample(5, 3, oracle_rng)
        oracle[ids, min(num_tries, 6)] += 1
    cells = [cell for cell in set(ours) | set(oracle) if ours[cell] + oracle[cell] >= 20]
    # For two samples of one size: (a - b)^2 / (a + b), one degree of freedom per cell.
    statistic = sum((ours[cell] - oracle[cell]) ** 2 / (ours[cell] + oracle[cell]) for cell in cells)
    assert len(cells) > 20
    assert statistic < len(cells) + 4 * math.sqrt(2 * len(cells))


def test_a_sample_does_not_depend_on_the_draws_per_round():
    sampler = LogUniformSampler(50, 20)
    other = LogUniformSampler(50, 20)
    other._draws_per_round = 7
    for seed in range(20):
        sample, expected = (s.sample(np.random.default_rng(seed)) for s in (other, sampler))
        assert torch.equal(sample.ids, expected.ids)
        assert sample.num_tries == expected.num_tries


@pytest.mark.parametrize("vocab_size, num_samples", [(2, 1), (10, 9), (9494, 1024), (793471, 8192)])
def test_samples_are_distinct_sorted_and_in_range(vocab_size, num_samples):
    sample = LogUniformSampler(vocab_size, num_samples).sample(np.random.default_rng(3))
    assert sample.ids.dtype == torch.int64 and sample.log_expected.dtype == torch.float64
    assert sample.ids.shape == sample.log_expected.shape == (num_samples,)
    assert (sample.ids[1:] > sample.ids[:-1]).all()
    assert 0 <= sample.ids[0] and sample.ids[-1] < vocab_size
    assert sample.num_tries >= num_samples


def test_expected_counts_are_the_chance_to_be_in_the_sample():
    sample = LogUniformSampler(100, 10).sample(np.random.default_rng(4))
    probs = log_uniform_probs(100)
    expected = np.log(1 - (1 - probs) ** sample.num_tries)
    np.testing.assert_allclose(sample.log_expected, expected[sample.ids], rtol=1e-10)
    ids = torch.arange(100).view(4, 25)
    np.testing.assert_allclose(log_expected_counts(ids, sample.num_tries, 100).reshape(-1), expected, rtol=1e-10)


def test_expected_counts_keep_their_precision_for_rare_words():
    ids = torch.tensor([793470])
    prob = math.log1p(1 / 793471) / math.log(793472)
    # Small enough for the first term of the series.
    assert math.isclose(log_expected_counts(ids, 1, 793471).item(), math.log(prob), rel_tol=1e-12)


def test_the_same_generator_gives_the_same_sample_and_another_does_not():
    sampler = LogUniformSampler(1000, 50)
    sampler.sample(np.random.default_rng(9))
    first, again, other = (sampler.sample(np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert torch.equal(first.ids, again.ids)
    assert not torch.equal(first.ids, other.ids)


def test_draws_that_round_up_to_the_end_stay_in_the_vocabulary(monkeypatch):
    sampler = LogUniformSampler(10, 1)

    class AlmostOne:
        def random(self, size):
            return np.full(size, 1.0)

    assert sampler.sample(AlmostOne()).ids.tolist() == [9]


def test_many_draws_are_made_in_bounded_rounds(monkeypatch):
    monkeypatch.setattr(negatives, "MAX_DRAWS_PER_ROUND", 64)
    sampler = LogUniformSampler(200, 150)
    assert sampler._draws_per_round == 64
    assert len(set(sampler.sample(np.random.default_rng(0)).ids.tolist())) == 150


@pytest.mark.parametrize("num_samples", [0, 10, 11])
def test_refuses_more_samples_than_the_vocabulary_has_other_words(num_samples):
    with pytest.raises(
        ValueError,
        match=f"`n_negative_samples_batch` must be at least 1 and below 10, the words of the vocabulary, got {num_samples}",
    ):
        LogUniformSampler(10, num_samples)
