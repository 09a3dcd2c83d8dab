"""Find the nearest neighbours of one word after the other in a text that is encoded once and held in memory."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Optional

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.inference.embedder import ElmoEmbedder
from allennlp_elmo_plus.inference.neighbors import NearestItems, NearToken, NearWord, Neighbors, TokenInContext

# 400 MB in float32: 390,000 words of the smallest released model, 98,000 of the largest one.
MAX_NUMBERS = 100_000_000


class NeighborIndex:
    """The words of a text in their sentences, as `NeighborSearch` compares them: by the top layer, and without context.

    Args:
        embedder: the biLM.
        sentences: the text. At most MAX_NUMBERS numbers of it are held, so the text is read up to that many words.

    Attributes:
        num_words: the number of words that were read.

    Raises:
        InputError: the text holds no word.
    """

    def __init__(self, embedder: ElmoEmbedder, sentences: Iterable[Sequence[str]]) -> None:
        self._embedder = embedder
        self._width = embedder.encoder.bilm.output_size
        self._tokens: list[TokenInContext] = []
        contextual: list[np.ndarray] = []
        free: dict[str, np.ndarray] = {}
        num_done = 0
        for vectors in embedder.embed_sentences(self._read(sentences)):
            tokens = self._tokens[num_done : num_done + vectors.shape[1]]
            num_done += len(tokens)
            # Copies, because the arrays are parts of one of the whole batch.
            contextual.append(vectors[-1].copy())
            for token, vector in zip(tokens, vectors[0], strict=True):
                if token.word not in free:
                    free[token.word] = vector[: self._width].copy()
        if not self._tokens:
            raise InputError("the text must hold at least one word, got none")
        self.num_words = num_done
        self._contextual = _unit_vectors(np.concatenate(contextual))
        self._words = list(free)
        self._free = _unit_vectors(np.stack(list(free.values())))

    def neighbors(self, query: TokenInContext, num_neighbors: int) -> Neighbors:
        """Return the `num_neighbors` nearest neighbours of `query`, with and without context each."""
        vectors = self._embedder.embed_sentence(query.sentence)[:, query.position]
        near_words, near_tokens = NearestItems(num_neighbors, query.word), NearestItems(num_neighbors, query)
        near_words.add(self._free @ _unit_vectors(vectors[:1, : self._width])[0], self._words.__getitem__)
        near_tokens.add(self._contextual @ _unit_vectors(vectors[-1:])[0], self._tokens.__getitem__)
        return Neighbors(
            query,
            [NearWord(*pair) for pair in near_words.nearest_first()],
            [NearToken(*pair) for pair in near_tokens.nearest_first()],
        )

    def sentence_of(self, min_words: int, max_words: int) -> Optional[tuple[str, ...]]:
        """Return the first sentence of the text that has `min_words` to `max_words` words, or None."""
        sentences = (token.sentence for token in self._tokens if token.position == 0)
        return next((sentence for sentence in sentences if min_words <= len(sentence) <= max_words), None)

    def _read(self, sentences: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
        max_words = MAX_NUMBERS // self._embedder.output_size
        for sentence in sentences:
            if len(self._tokens) + len(sentence) > max_words:
                return
            words = tuple(sentence)
            self._tokens += [TokenInContext(words, position) for position in range(len(words))]
            yield words


def _unit_vectors(vectors: np.ndarray) -> Tensor:
    """Return `vectors`, (N, K), divided by their lengths."""
    return F.normalize(torch.from_numpy(vectors), dim=1)
