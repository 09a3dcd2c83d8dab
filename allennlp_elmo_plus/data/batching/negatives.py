"""Negative samples of the sampled softmax: distinct word ids drawn from the log-uniform (Zipfian) law.

The law is that of TensorFlow's `log_uniform_candidate_sampler(unique=True)`, which bilm-tf trains with: ids are drawn
from `P(i) = log((i + 2) / (i + 1)) / log(V + 1)`, and a repeated id is thrown away until `S` distinct ones are found.
It assumes a vocabulary in order of falling frequency.
"""

import math
from typing import Optional

import numpy as np
import torch

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.kernels.softmax.negatives import NegativeSample

# Draws made at once: bounds memory when nearly every word of a large vocabulary is asked for.
MAX_DRAWS_AT_ONCE = 1 << 22


def sampler_of(vocab_size: int, num_samples: int) -> Optional["LogUniformSampler"]:
    """Return a sampler, or None where `num_samples` are at least the whole vocabulary, so that the full softmax costs less."""
    return LogUniformSampler(vocab_size, num_samples) if num_samples < vocab_size else None


class LogUniformSampler:
    """Draws sets of `num_samples` distinct ids of a vocabulary of `vocab_size`. What a generator gives depends on nothing
    but the generator: samplers hold no state from draw to draw.

    Raises InputError unless 1 <= `num_samples` < `vocab_size`.
    """

    def __init__(self, vocab_size: int, num_samples: int) -> None:
        if not 1 <= num_samples < vocab_size:
            # By its name in options.json and of the data loader.
            raise InputError(
                f"`n_negative_samples_batch` must be at least 1 and below {vocab_size}, the words of the vocabulary, "
                f"got {num_samples}"
            )
        self.vocab_size = vocab_size
        self.num_samples = num_samples
        self._log_range = math.log(vocab_size + 1)
        probs = np.log1p(1 / np.arange(1.0, vocab_size + 1)) / self._log_range
        self._log_absent = np.log1p(-probs)
        self._draws_at_once = self._likely_tries()
        self._first_draw = np.empty(vocab_size, dtype=np.int32)

    def sample(self, rng: np.random.Generator) -> NegativeSample:
        """One sample, from the numbers of `rng` alone. Not safe to call from two threads at once."""
        draws = self._draw(rng)
        while np.count_nonzero(is_new := self._mark_first_draws(draws)) < self.num_samples:
            # Going on, never starting afresh: fresh starts would favour sequences with few repeats.
            draws = np.concatenate([draws, self._draw(rng)])
        position_of_new = np.flatnonzero(is_new)[: self.num_samples]
        ids = np.sort(draws[position_of_new])
        num_tries = int(position_of_new[-1]) + 1
        log_expected = np.log(-np.expm1(num_tries * self._log_absent[ids]))
        return NegativeSample(torch.from_numpy(ids), torch.from_numpy(log_expected), num_tries)

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        """The inverse of the distribution function, log(i + 2) / log(V + 1), at uniform numbers."""
        draws = np.exp(rng.random(self._draws_at_once) * self._log_range).astype(np.int64) - 1
        # exp may round up to V + 1
        return np.minimum(draws, self.vocab_size - 1, out=draws)

    def _mark_first_draws(self, draws: np.ndarray) -> np.ndarray:
        """(draws,) bool: True where an id is drawn for the first time. Linear time: no sorting."""
        positions = np.arange(len(draws), dtype=np.int32)
        # Of repeated indices the last assignment stays, so writing backwards leaves the first draw of each id.
        self._first_draw[draws[::-1]] = positions[::-1]
        return self._first_draw[draws] == positions

    def _likely_tries(self) -> int:
        """Draws that nearly always hold enough distinct ids, so that one round is the rule."""
        tries = float(self.num_samples)
        while tries < MAX_DRAWS_AT_ONCE and -np.expm1(tries * self._log_absent).sum() < self.num_samples:
            tries *= 1.1
        return min(int(tries * 1.05) + 16, MAX_DRAWS_AT_ONCE)
