"""A cache of word vectors that is valid while the weights that they were computed with do not change."""

from collections.abc import Callable, Hashable, Iterable
from threading import Lock
from typing import Optional

import numpy as np
import torch
from torch import Tensor

from allennlp_elmo_plus.errors import check_at_least

MAX_CACHED_WORDS = 2**16

# A function that returns the vectors (U, D) of words (U, C).
Compute = Callable[[np.ndarray], Tensor]
# Words (U, C) and their vectors (U, D).
Words = tuple[np.ndarray, Tensor]


class WordVectorCache:
    """A table of word vectors, with the bytes of a word's character ids as the key.

    A full table takes no new words: the first words of a text, mostly common ones, stay. The table is on the device of the vectors
    that are added.

    Several threads may use one cache. A lock is held while words are looked up or added, not while missing vectors are computed. A
    copied or unpickled cache is empty.

    Args:
        max_words: Maximum number of words, at least 1. The default, 65,536, takes 134 MB for vectors of 512 in single precision.

    Raises:
        InputError: `max_words` is below 1.
    """

    def __init__(self, max_words: int = MAX_CACHED_WORDS) -> None:
        check_at_least(1, max_words=max_words)
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
        """Return the vectors of `words`, (U, D).

        Args:
            words: Distinct character ids, (U, C).
            compute: Returns the vectors (M, D) of the words (M, C) that are not in the table; called at most once.
            weights: Identifies the weights that `compute` uses; vectors computed with other weights are removed first.
            first_words: Called for the first words of a new table: at the first call, and after a change of weights.
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
            cached = np.flatnonzero(rows >= 0)
            result[torch.from_numpy(cached).to(new.device)] = stored[torch.from_numpy(rows[cached]).to(new.device)]
        with self._lock:
            # The table of these weights: another thread may have replaced it in the cache.
            table.add([keys[index] for index in missing], new, self.max_words)
        return result


class _Table:
    """Words and their vectors, computed with one state of the weights. A written row never changes."""

    def __init__(self, weights: Hashable) -> None:
        self.weights = weights
        self.rows: dict[bytes, int] = {}
        self.vectors: Optional[Tensor] = None

    @torch.no_grad()
    def add(self, keys: list[bytes], vectors: Tensor, max_words: int) -> None:
        """Add the words of `keys` that another thread has not added meanwhile, up to `max_words` words in all."""
        old_size = len(self.rows)
        new_indices = [index for index, key in enumerate(keys) if key not in self.rows][: max_words - old_size]
        if not new_indices:
            return
        new_size = old_size + len(new_indices)
        capacity = 0 if self.vectors is None else len(self.vectors)
        # A tensor made in inference mode cannot be written to outside of it.
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
            self.vectors[old_size:new_size] = vectors[torch.tensor(new_indices, device=vectors.device)]
        self.rows.update((keys[index], old_size + offset) for offset, index in enumerate(new_indices))


def _keys(words: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in np.ascontiguousarray(words)]
