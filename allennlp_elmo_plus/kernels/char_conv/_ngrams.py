"""The distinct character n-grams of a batch's words, and where each word holds them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from allennlp_elmo_plus.kernels.gemm.linear import pad_rows_to_multiple

_MAX_KEY = 2**63 - 1


@dataclass(frozen=True)
class Ngrams:
    """The distinct character n-grams (W, width) of U words, and the n-gram at each position of each word.

    An n-gram begins at its position and is as wide as the widest filter; a narrower filter reads its first characters.

    Attributes:
        characters: Character ids from 1 of each n-gram, (W, width) int64.
        index: The n-gram at each position of each word, (positions, U) int64.
        first_words: For each position, the first word that needs the position; all words after it need it too.
        max_characters: C, the number of character columns; no filter reads beyond them.
    """

    characters: Tensor
    index: Tensor
    first_words: list[int]
    max_characters: int
    _by_word: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def positions_after_first(self, width: int) -> range:
        """Return the positions from 1 on that filters of `width` read in any word."""
        return range(1, min(len(self.first_words), self.max_characters - width + 1))

    def by_word(self, width: int) -> tuple[Tensor, Tensor]:
        """Return the n-grams that filters of `width` read, word by word, (M,), and where each word begins among them, (U,)."""
        num_positions = self.positions_after_first(width).stop
        # Most widths read the same positions.
        if num_positions not in self._by_word:
            self._by_word[num_positions] = self._gather_by_word(self.first_words[:num_positions])
        return self._by_word[num_positions]

    def _gather_by_word(self, first_words: list[int]) -> tuple[Tensor, Tensor]:
        device, num_words = self.index.device, self.index.shape[1]
        words = torch.arange(num_words, device=device)
        num_needed = (words[:, None] >= torch.tensor(first_words).to(device, non_blocking=True)).sum(1)
        starts = num_needed.cumsum(0) - num_needed
        # The host knows the total, and need not wait for a GPU to count.
        total = len(first_words) * num_words - sum(first_words)
        word_of_position = words.repeat_interleave(num_needed, output_size=total)
        positions = torch.arange(total, device=device) - starts[word_of_position]
        return self.index[positions, word_of_position], starts

    def num_positions(self, width: int) -> np.ndarray:
        """Return how many positions of each word filters of `width` read, (U,) int64."""
        return np.minimum(self._needed_positions, self.max_characters - width + 1)

    @cached_property
    def _needed_positions(self) -> np.ndarray:
        return np.searchsorted(self.first_words, np.arange(self.index.shape[1]), side="right")


def find_ngrams(characters: Tensor, width: int, padding_id: int, buckets: Sequence[tuple[int, int]]) -> Ngrams:
    """Return the distinct n-grams of words in buckets.

    Args:
        characters: Character ids from 1 to `padding_id`, (U, C), shorter words first.
        width: Characters of an n-gram, from 1 to C.
        padding_id: The id beyond a word's last character, and the highest id.
        buckets: (end row, length) pairs, both ascending; the rows of a bucket hold padding alone from column `length` on.
    """
    max_characters = characters.shape[1]
    first_words = _first_words(buckets, len(characters), max_characters)
    ngrams, index = unique_ngrams(characters, width, len(first_words), padding_id)
    return Ngrams(pad_rows_to_multiple(ngrams, padding_id), index, first_words, max_characters)


def unique_ngrams(characters: Tensor, width: int, num_positions: int, padding_id: int) -> tuple[Tensor, Tensor]:
    """Return the distinct n-grams (W, width) of `characters` (U, C), and the n-gram at each position, (num_positions, U)."""
    characters = characters[:, : num_positions + width - 1].long()
    num_missing = num_positions + width - 1 - characters.shape[1]
    padded = F.pad(characters, (0, num_missing), value=padding_id)
    ngrams = padded.unfold(1, width, 1).transpose(0, 1).reshape(-1, width)
    # An n-gram's key is its characters as one number. Where the next character would not fit, keys are numbered anew.
    keys, num_keys = ngrams[:, 0], padding_id + 1
    for column in ngrams.unbind(1)[1:]:
        if num_keys * (padding_id + 1) > _MAX_KEY:
            distinct, keys = torch.unique(keys, return_inverse=True)
            num_keys = len(distinct)
        keys = keys * (padding_id + 1) + column
        num_keys *= padding_id + 1
    distinct, index = torch.unique(keys, return_inverse=True)
    example = torch.empty_like(distinct).scatter_(0, index, torch.arange(len(index), device=index.device))
    return ngrams[example], index.view(num_positions, -1)


def sort_by_length(characters: Tensor, padding_id: int) -> tuple[Tensor, list[tuple[int, int]]]:
    """Return the order (U,) of words by ascending length, and a bucket (end row, length) for each length."""
    columns = torch.arange(1, characters.shape[1] + 1, device=characters.device)
    lengths, order = ((characters != padding_id) * columns).amax(dim=1).sort(stable=True)
    distinct_lengths, counts = torch.unique_consecutive(lengths, return_counts=True)
    return order, list(zip(counts.cumsum(0).tolist(), distinct_lengths.tolist(), strict=True))


def _first_words(buckets: Sequence[tuple[int, int]], num_words: int, max_characters: int) -> list[int]:
    """Return the first word that needs each position that any word needs.

    A word of n characters needs its first n + 1 positions, whatever the width of a filter: at each later position a filter reads
    padding alone, as at the last of these.

    Raises:
        ValueError: `buckets` do not ascend, or do not end at the number of words.
    """
    first_words: list[int] = []
    start, previous = 0, 0
    for end, length in buckets:
        if end < start or not previous <= length <= max_characters:
            raise ValueError(f"`buckets` must rise, lengths from 0 to {max_characters}, got {buckets}")
        if end > start:
            first_words += [start] * (min(length + 1, max_characters) - len(first_words))
        start, previous = end, length
    if start != num_words:
        raise ValueError(f"`buckets` must end at row {num_words}, the number of words, got {start}")
    return first_words
