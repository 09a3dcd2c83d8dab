"""Vectors of words already computed, kept while the weights behind them stay as they are."""

from collections.abc import Callable, Hashable, Iterable
from threading import Lock
from typing import Optional

import numpy as np
import torch
from torch import Tensor

MAX_CACHED_WORDS = 2**16

# Computes the vectors (U, D) of words (U, C).
Compute = Callable[[np.ndarray], Tensor]
# Words (U, C) and their vectors (U, D).
Words = tuple[np.ndarray, Tensor]


class WordVectorCache:
    """A table of word vectors, found by the bytes of a word's character ids.

    Holds at most `max_words` words, 65,536 by default: 134 MB for vectors of 512 in single precision. Once full it
    takes no new ones, so that the words met first, mostly the common ones, stay. The table lives on the device of the
    vectors put in.

    Several threads may use it at once: a lock is held while words are looked up or put in, and not while vectors of
    words that are missing are computed. A copy of a cache, and one that was pickled, is empty.
    """

    def __init__(self, max_words: int = MAX_CACHED_WORDS) -> None:
        if max_words < 1:
            raise ValueError(f"`max_words` must be at least 1, got {max_words}")
        self.max_words = max_words
        self._lock = Lock()
        self._table = _Table(None)

    def __len__(self) -> int:
        return len(self._table.rows)

    def __reduce__(self) -> tuple[type, tuple[int]]:
        return type(self), (self.max_words,)

    def clear(self) -> None:
        """Remove all words."""
        with self._lock:
            self._table = _Table(None)

    def vectors(
        self,
        words: np.ndarray,
        compute: Compute,
        weights: Hashable = (),
        first_words: Callable[[], Iterable[Words]] = tuple,
    ) -> Tensor:
        """Return the vector of each of `words`, distinct character ids (U, C): *Shape:* (U, D).

        Args:
            words: Distinct character ids, (U, C).
            compute: Called at most once, with the words that are not in the table, (M, C); returns their vectors (M, D).
            weights: The values that `compute` depends on; vectors computed with other ones are removed first.
            first_words: Called where the table is empty, or was made with other weights; gives words to put in first.
        """
        keys = _keys(words)
        with self._lock:
            table = self._table
            if table.weights != weights:
                table = _Table(weights)
                for known, vectors in first_words():
                    table.add(_keys(known), vectors, self.max_words)
                self._table = table
            rows = np.fromiter((table.rows.get(key, -1) for key in keys), dtype=np.int64, count=len(keys))
            stored = table.vectors
        missing = np.flatnonzero(rows < 0)
        if not len(missing) and stored is not None:
            return stored[torch.from_numpy(rows).to(stored.device)]
        new = compute(words[missing])
        result = new.new_empty(len(words), new.shape[1])
        result[torch.from_numpy(missing).to(new.device)] = new
        if stored is not None:
            found = np.flatnonzero(rows >= 0)
            result[torch.from_numpy(found).to(new.device)] = stored[torch.from_numpy(rows[found]).to(new.device)]
        with self._lock:
            # The table of these weights, though another may have taken its place meanwhile.
            table.add([keys[index] for index in missing], new, self.max_words)
        return result


class _Table:
    """Words and their vectors, computed with one state of the weights. A row once written never changes."""

    def __init__(self, weights: Hashable) -> None:
        self.weights = weights
        self.rows: dict[bytes, int] = {}
        self.vectors: Optional[Tensor] = None

    @torch.no_grad()
    def add(self, keys: list[bytes], vectors: Tensor, max_words: int) -> None:
        """Put in the words of `keys` that another thread has not put in meanwhile, as long as there are at most `max_words`."""
        places = [place for place, key in enumerate(keys) if key not in self.rows]
        old_size = len(self.rows)
        places = places[: max_words - old_size]
        if not places:
            return
        new_size = old_size + len(places)
        capacity = 0 if self.vectors is None else len(self.vectors)
        # A tensor made in inference mode could not be written to outside of it.
        with torch.inference_mode(False):
            if self.vectors is None or new_size > capacity:
                larger = torch.empty(
                    min(max_words, max(new_size, 2 * capacity)),
                    vectors.shape[1],
                    dtype=vectors.dtype,
                    device=vectors.device,
                )
                if self.vectors is not None:
                    larger[:old_size] = self.vectors[:old_size]
                self.vectors = larger
            self.vectors[old_size:new_size] = vectors[torch.tensor(places, device=vectors.device)]
        self.rows.update((keys[place], old_size + offset) for offset, place in enumerate(places))


def _keys(words: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in np.ascontiguousarray(words)]
