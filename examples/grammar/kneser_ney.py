"""An n-gram model with interpolated Kneser-Ney smoothing (Kneser and Ney 1995; Chen and Goodman 1999), counted with NumPy.

NLTK's model of this kind searches all counts for each probability: 0.03 s per word after 4,000 sentences, and longer in proportion to the
text.
"""

from collections.abc import Sequence
from typing import Optional

import numpy as np


class _Grams:
    """Numbers for the distinct n-grams of one order. The key of an n-gram is made of the number of its first words and its last word."""

    def __init__(self, keys: np.ndarray) -> None:
        self.keys, self.first, self.numbers, self.counts = np.unique(
            keys, return_index=True, return_inverse=True, return_counts=True
        )

    def look_up(self, keys: np.ndarray) -> np.ndarray:
        """Return the number of the n-gram with each of `keys`; -1 for one that is not there."""
        numbers = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return np.where(self.keys[numbers] == keys, numbers, -1)


class KneserNey:
    """A model that predicts each word from the `order` - 1 words before it.

    The count of an n-gram is the number of its occurrences in the highest order, and the number of different words before it in lower
    orders. Each order subtracts one discount from its counts, n1 / (n1 + 2 n2), where n1 and n2 are the numbers of n-grams with counts 1
    and 2. The lowest order has no discount, so every word of the vocabulary must occur.

    Args:
        sentences: the words of each sentence as numbers below `num_words`, the end of the sentence included.
        num_words: the size of the vocabulary.
        order: n, at least 2.
        discount: a discount for all orders instead.
    """

    def __init__(
        self, sentences: Sequence[Sequence[int]], num_words: int, order: int, discount: Optional[float] = None
    ) -> None:
        self._num_words, self._order = num_words, order
        words = self._padded(sentences)
        self._grams = [_Grams(words)]
        for _ in range(1, order):
            self._grams.append(_Grams(self._keys(self._grams[-1].numbers, words)))
        # Of each order: counts less the discount; for each context the sum of its counts, and the weight of the lower order.
        self._tables: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for level, grams in enumerate(self._grams):
            counts = grams.counts
            if level < order - 1:
                longer = self._grams[level + 1]
                counts = np.bincount(grams.numbers[longer.first], minlength=len(grams.keys))
            counts = np.where(words[grams.first] == num_words, 0, counts).astype(float)
            once, twice = np.count_nonzero(counts == 1), np.count_nonzero(counts == 2)
            step = 0.0 if level == 0 else once / (once + 2 * twice) if discount is None else discount
            contexts = self._grams[level - 1].numbers[grams.first - 1] if level else np.zeros(len(counts), dtype=int)
            num_contexts = len(self._grams[level - 1].keys) if level else 1
            totals = np.bincount(contexts, counts, num_contexts)
            back_off = step * np.bincount(contexts, counts > 0, num_contexts)
            self._tables.append((np.maximum(counts - step, 0), totals, back_off))

    def log_probs(self, sentences: Sequence[Sequence[int]]) -> np.ndarray:
        """Return the log-probability of each of `sentences` in nats."""
        words = self._padded(sentences)
        numbers = self._grams[0].look_up(words)
        counts, totals, _ = self._tables[0]
        probs = counts[numbers] / totals[0]
        for grams, (counts, totals, back_off) in zip(self._grams[1:], self._tables[1:], strict=True):
            contexts = np.roll(numbers, 1)
            numbers = grams.look_up(self._keys(numbers, words))
            is_known = (contexts >= 0) & (totals[contexts] > 0)
            count = np.where(numbers >= 0, counts[numbers], 0)
            probs = np.where(
                is_known, (count + back_off[contexts] * probs) / np.where(is_known, totals[contexts], 1), probs
            )
        is_target = words != self._num_words
        owners = np.repeat(np.arange(len(sentences)), [len(sentence) for sentence in sentences])
        return np.bincount(owners, np.log(probs[is_target]), len(sentences))

    def _padded(self, sentences: Sequence[Sequence[int]]) -> np.ndarray:
        """Return all words in one array; `num_words` stands for the beginning, n - 1 times before each sentence."""
        beginning = [self._num_words] * (self._order - 1)
        return np.array([word for sentence in sentences for word in (*beginning, *sentence)])

    def _keys(self, numbers: np.ndarray, words: np.ndarray) -> np.ndarray:
        """Return the keys of the n-grams that end at each word, from the `numbers` of the shorter n-grams that end at each word."""
        return np.roll(numbers, 1) * (self._num_words + 1) + words
