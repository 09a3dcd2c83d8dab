"""Vectors of words already computed, kept while the weights behind them stay as they are."""

from collections.abc import Callable
from typing import Optional

import numpy as np
import torch
from torch import Tensor

MAX_CACHED_WORDS = 2**16


class WordVectorCache:
    """
    A table of word vectors, found by the bytes of a word's character ids.

    Holds at most `max_words` words, 65,536 by default: 134 MB for vectors of 512 in single precision. Once full it
    takes no new ones, so that the words met first, mostly the common ones, stay. The table lives on the device of the
    vectors put in.
    """

    def __init__(self, max_words: int = MAX_CACHED_WORDS) -> None:
        if max_words < 1:
            raise ValueError(f"`max_words` must be at least 1, got {max_words}")
        self.max_words = max_words
        self._rows: dict[bytes, int] = {}
        self._table: Optional[Tensor] = None

    def __len__(self) -> int:
        return len(self._rows)

    def clear(self) -> None:
        self._rows = {}
        self._table = None

    def vectors(self, words: np.ndarray, compute: Callable[[np.ndarray], Tensor]) -> Tensor:
        """
        The vector of each of `words`, distinct character ids (U, C): *Shape:* (U, D).

        `compute` is called at most once, with the words that are not in the table, (M, C), and returns their vectors
        (M, D).
        """
        keys = [row.tobytes() for row in np.ascontiguousarray(words)]
        rows = np.fromiter((self._rows.get(key, -1) for key in keys), dtype=np.int64, count=len(keys))
        missing = np.flatnonzero(rows < 0)
        if not len(missing) and self._table is not None:
            return self._table[torch.from_numpy(rows).to(self._table.device)]
        new = compute(words[missing])
        result = new.new_empty(len(words), new.shape[1])
        result[torch.from_numpy(missing).to(new.device)] = new
        if self._table is not None:
            found = np.flatnonzero(rows >= 0)
            result[torch.from_numpy(found).to(new.device)] = self._table[torch.from_numpy(rows[found]).to(new.device)]
        self._store([keys[index] for index in missing], new)
        return result

    def _store(self, keys: list[bytes], vectors: Tensor) -> None:
        old_size = len(self._rows)
        num_stored = min(len(keys), self.max_words - old_size)
        if num_stored == 0:
            return
        new_size = old_size + num_stored
        capacity = 0 if self._table is None else len(self._table)
        if new_size > capacity:
            table = vectors.new_empty(min(self.max_words, max(new_size, 2 * capacity)), vectors.shape[1])
            if self._table is not None:
                table[:old_size] = self._table[:old_size]
            self._table = table
        assert self._table is not None
        self._table[old_size:new_size] = vectors[:num_stored]
        self._rows.update((key, old_size + offset) for offset, key in enumerate(keys[:num_stored]))
