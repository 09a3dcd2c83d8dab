"""Find the nearest neighbours of a word, in its sentence and without context, in a text (Peters et al. 2018, table 4).

The text is read once, in batches; only the nearest tokens so far are kept.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor
from torch.nn import functional as F

from allennlp_elmo_plus.data.batching.sentences import sentence_ids
from allennlp_elmo_plus.errors import check_at_least
from allennlp_elmo_plus.modules.encoder import BiLMEncoder

BATCH_TOKENS = 4096
MAX_SENTENCE_WORDS = 1000
_CHUNK_WORDS = 1024


class TokenInContext(NamedTuple):
    """One occurrence of a word: a sentence and the position of the word in it."""

    sentence: tuple[str, ...]
    position: int

    @property
    def word(self) -> str:
        """Return the word."""
        return self.sentence[self.position]


class NearWord(NamedTuple):
    """A neighbour without context."""

    similarity: float  # cosine of the two vectors
    word: str


class NearToken(NamedTuple):
    """A neighbour in context."""

    similarity: float  # cosine of the two vectors
    token: TokenInContext


class Neighbors(NamedTuple):
    """The neighbours of one query, the nearest first."""

    query: TokenInContext
    context_free: list[NearWord]
    contextual: list[NearToken]


class NearestItems:
    """The `num_kept` nearest distinct items of all that were added. Of equally near items, the earlier ones are kept.

    Args:
        num_kept: the maximum number of items, at least 1.
        excluded: an item that is never kept.

    Raises:
        InputError: `num_kept` is below 1.
    """

    def __init__(self, num_kept: int, excluded: Hashable) -> None:
        check_at_least(1, num_kept=num_kept)
        self._num_kept = num_kept
        self._excluded = excluded
        self._similarities: dict[Any, float] = {}

    def add(self, similarities: Tensor, item_at: Callable[[int], Hashable]) -> None:
        """Add M items with their `similarities`, (M,); `item_at(i)` returns the i-th item."""
        worst = min(self._similarities.values()) if len(self._similarities) == self._num_kept else -torch.inf
        candidates = (similarities > worst).nonzero().squeeze(1)
        values, order = similarities[candidates].sort(descending=True, stable=True)
        for value, index in zip(values.tolist(), candidates[order].tolist(), strict=True):
            if len(self._similarities) == self._num_kept and value <= min(self._similarities.values()):
                break
            item = item_at(index)
            if item == self._excluded or self._similarities.get(item, -torch.inf) >= value:
                continue
            self._similarities[item] = value
            if len(self._similarities) > self._num_kept:
                # Remove the latest of the farthest items, so that the earliest of equals stays.
                del self._similarities[min(reversed(self._similarities), key=self._similarities.__getitem__)]

    def nearest_first(self) -> list[tuple[float, Any]]:
        """Return the pairs (similarity, item), the nearest first."""
        return sorted(((value, item) for item, value in self._similarities.items()), key=lambda pair: -pair[0])


class NeighborSearch:
    """Search for the neighbours of `queries` in the text that is passed to `add_text`.

    Args:
        encoder: the biLM, in evaluation mode.
        queries: the words to find neighbours for.
        num_neighbors: the number of neighbours per query, with and without context each; at least 1.
        layer: the layer whose vectors are compared in context, from 0 to L; -1, the default, is the top layer.
        vocabulary: the words to compare without context; None compares all words of the text.
        word_ids: the id of each word, for a biLM of word input.

    Raises:
        ValueError: `layer` does not exist.
        InputError: `num_neighbors` is below 1.
    """

    def __init__(
        self,
        encoder: BiLMEncoder,
        queries: Sequence[TokenInContext],
        num_neighbors: int,
        layer: int = -1,
        vocabulary: Optional[Sequence[str]] = None,
        word_ids: Optional[Mapping[str, int]] = None,
    ) -> None:
        if not -1 <= layer < encoder.num_layers:
            raise ValueError(f"`layer` must be from 0 to {encoder.num_layers - 1}, or -1 for the top one, got {layer}")
        self._encoder = encoder
        self._queries = list(queries)
        self._layer = layer
        self._word_ids = word_ids
        self._device = next(encoder.parameters()).device
        self._near_words = [NearestItems(num_neighbors, query.word) for query in queries]
        self._near_tokens = [NearestItems(num_neighbors, query) for query in queries]
        self._compares_text_words = vocabulary is None
        self.num_skipped = 0
        pairs = [[vectors[query.position] for vectors in self._vectors_of([query.sentence])] for query in queries]
        self._free, self._contextual = (torch.stack(vectors) for vectors in zip(*pairs, strict=True))
        vocabulary = vocabulary or ()
        for first in range(0, len(vocabulary), _CHUNK_WORDS):
            words = vocabulary[first : first + _CHUNK_WORDS]
            self._add_words(words, self._word_vectors(words))

    def add_text(self, sentences: Iterable[Sequence[str]]) -> None:
        """Search in the next `sentences` of the text.

        To bound memory, sentences of more than `MAX_SENTENCE_WORDS` words are skipped, and counted in `num_skipped`.
        """
        for batch in self._batches(sentences):
            free, contextual = self._vectors_of(batch)
            tokens = [TokenInContext(words, position) for words in map(tuple, batch) for position in range(len(words))]
            similarities = contextual @ self._contextual.t()
            for nearest, column in zip(self._near_tokens, similarities.t(), strict=True):
                nearest.add(column, tokens.__getitem__)
            if self._compares_text_words:
                self._add_words([token.word for token in tokens], free)

    def result(self) -> list[Neighbors]:
        """Return the neighbours of each query in the text so far."""
        return [
            Neighbors(
                query,
                [NearWord(*pair) for pair in words.nearest_first()],
                [NearToken(*pair) for pair in tokens.nearest_first()],
            )
            for query, words, tokens in zip(self._queries, self._near_words, self._near_tokens, strict=True)
        ]

    def _add_words(self, words: Sequence[str], vectors: Tensor) -> None:
        similarities = vectors @ self._free.t()
        for nearest, column in zip(self._near_words, similarities.t(), strict=True):
            nearest.add(column, words.__getitem__)

    def _batches(self, sentences: Iterable[Sequence[str]]) -> Iterator[list[Sequence[str]]]:
        batch: list[Sequence[str]] = []
        for sentence in sorted(filter(len, sentences), key=len):
            if len(sentence) > MAX_SENTENCE_WORDS:
                self.num_skipped += 1
                continue
            # Sentences are sorted by length, so this one is the longest of the batch.
            if batch and (len(batch) + 1) * len(sentence) > BATCH_TOKENS:
                yield batch
                batch = []
            batch.append(sentence)
        if batch:
            yield batch

    @torch.no_grad()
    def _vectors_of(self, sentences: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        """Return unit vectors of the M words of `sentences`, concatenated: without context (M, D), in context (M, K)."""
        ids = sentence_ids(sentences, self._encoder.max_characters, self._word_ids).to(self._device)
        layers, layout, _ = self._encoder(ids)
        free = layers[0][layout.row_of_word, : self._encoder.bilm.output_size]
        return F.normalize(free, dim=1), F.normalize(layers[self._layer][layout.row_of_word], dim=1)

    @torch.no_grad()
    def _word_vectors(self, words: Sequence[str]) -> Tensor:
        """Return unit vectors of `words` without context, (len(words), D)."""
        ids = sentence_ids([words], self._encoder.max_characters, self._word_ids)[0].to(self._device)
        # `sentence_ids` counts the words of a vocabulary from 1.
        return F.normalize(self._encoder.token_encoder(ids if ids.dim() == 2 else ids - 1), dim=1)
