"""Draw the negative samples of the sampled softmax: distinct word ids from the log-uniform (Zipfian) distribution.

The distribution is that of TensorFlow's `log_uniform_candidate_sampler(unique=True)`, with which bilm-tf trains: ids are drawn from
`P(i) = log((i + 2) / (i + 1)) / log(V + 1)`, and repeated ids are rejected, until S distinct ids are drawn. It assumes a vocabulary in
order of falling frequency.
"""

import math
from typing import Optional

import numpy as np
import torch

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.kernels.softmax.negatives import NegativeSample

# Maximum draws per round: bounds memory where a sample holds nearly every word of a large vocabulary.
MAX_DRAWS_PER_ROUND = 1 << 22


def sampler_of(vocab_size: int, num_samples: int) -> Optional["LogUniformSampler"]:
    """Return a sampler, or None where `num_samples` are at least the whole vocabulary, so that the full softmax costs less."""
    return LogUniformSampler(vocab_size, num_samples) if num_samples < vocab_size else None


class LogUniformSampler:
    """Draws samples of distinct word ids. A sampler has no state: a sample depends on the generator alone.

    Args:
        vocab_size: V.
        num_samples: S, from 1 to V - 1.

    Raises:
        InputError: `num_samples` is out of range.
    """

    def __init__(self, vocab_size: int, num_samples: int) -> None:
        if not 1 <= num_samples < vocab_size:
            # The name in options.json and of the data loader's argument.
            raise InputError(
                f"`n_negative_samples_batch` must be at least 1 and below {vocab_size}, the words of the vocabulary, "
                f"got {num_samples}"
            )
        self.vocab_size = vocab_size
        self.num_samples = num_samples
        self._log_range = math.log(vocab_size + 1)
        probs = np.log1p(1 / np.arange(1.0, vocab_size + 1)) / self._log_range
        self._log_absent = np.log1p(-probs)
        self._draws_per_round = self._sufficient_draws()
        self._first_draw = np.empty(vocab_size, dtype=np.int32)

    def sample(self, rng: np.random.Generator) -> NegativeSample:
        """Return a sample drawn with `rng`. Two threads must not call this at the same time."""
        draws = self._draw(rng)
        while np.count_nonzero(is_new := self._mark_first_draws(draws)) < self.num_samples:
            # The earlier draws stay: starting again would favour sequences with few repeats.
            draws = np.concatenate([draws, self._draw(rng)])
        new_positions = np.flatnonzero(is_new)[: self.num_samples]
        ids = np.sort(draws[new_positions])
        num_tries = int(new_positions[-1]) + 1
        log_expected = np.log(-np.expm1(num_tries * self._log_absent[ids]))
        return NegativeSample(torch.from_numpy(ids), torch.from_numpy(log_expected), num_tries)

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        """Return one round of ids: the inverse of the distribution function log(i + 2) / log(V + 1) at uniform numbers."""
        draws = np.exp(rng.random(self._draws_per_round) * self._log_range).astype(np.int64) - 1
        # exp may round up to V + 1.
        return np.minimum(draws, self.vocab_size - 1, out=draws)

    def _mark_first_draws(self, draws: np.ndarray) -> np.ndarray:
        """Return a mask like `draws`, True where an id is drawn for the first time. Nothing is sorted: the time is linear."""
        positions = np.arange(len(draws), dtype=np.int32)
        # The last assignment to an index stays, so the reversed order leaves the first draw of each id.
        self._first_draw[draws[::-1]] = positions[::-1]
        return self._first_draw[draws] == positions

    def _sufficient_draws(self) -> int:
        """Return a number of draws that nearly always holds S distinct ids, so that one round is usually enough."""
        num_draws = float(self.num_samples)
        while num_draws < MAX_DRAWS_PER_ROUND and -np.expm1(num_draws * self._log_absent).sum() < self.num_samples:
            num_draws *= 1.1
        return min(int(num_draws * 1.05) + 16, MAX_DRAWS_PER_ROUND)
