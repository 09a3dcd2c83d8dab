"""Nearest neighbours of a word in its sentence, and without it (Peters et al. 2018, table 4), among all tokens of a text.

The text goes by once, a batch at a time; of it only the nearest tokens found so far are kept.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor
from torch.nn import functional as F

from allennlp_elmo_plus.data.batching.sentence_ids import sentence_ids
from allennlp_elmo_plus.data.text.characters import UNK_WORD, encode_words
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.modules.token_encoder import WordEncoder

BATCH_TOKENS = 4096
MAX_SENTENCE_WORDS = 1000
_WORDS_AT_ONCE = 1024


class Place(NamedTuple):
    """A word in its sentence."""

    sentence: tuple[str, ...]
    position: int

    @property
    def word(self) -> str:
        return self.sentence[self.position]


class NearWord(NamedTuple):
    similarity: float  # the cosine of the two vectors
    word: str


class NearPlace(NamedTuple):
    similarity: float
    place: Place


class Neighbors(NamedTuple):
    """What is nearest to one word, the nearest first."""

    query: Place
    context_free: list[NearWord]
    contextual: list[NearPlace]


class NearestOf:
    """The `num_kept` nearest of all things seen, each counted once however often it comes; `left_out` is never among them. Of things
    equally near, those seen first.
    """

    def __init__(self, num_kept: int, left_out: Hashable) -> None:
        if num_kept < 1:
            raise ValueError(f"`num_kept` must be at least 1, got {num_kept}")
        self._num_kept = num_kept
        self._left_out = left_out
        self._found: dict[Any, float] = {}

    def add(self, similarities: Tensor, thing: Callable[[int], Hashable]) -> None:
        """similarities: (M,); thing: which thing the i-th of them is of."""
        worst = min(self._found.values()) if len(self._found) == self._num_kept else -torch.inf
        candidates = (similarities > worst).nonzero().squeeze(1)
        values, order = similarities[candidates].sort(descending=True, stable=True)
        for value, index in zip(values.tolist(), candidates[order].tolist(), strict=True):
            if len(self._found) == self._num_kept and value <= min(self._found.values()):
                break
            new = thing(index)
            if new == self._left_out or self._found.get(new, -torch.inf) >= value:
                continue
            self._found[new] = value
            if len(self._found) > self._num_kept:
                # The latest of the farthest, so that the first of equals stays.
                del self._found[min(reversed(self._found), key=self._found.__getitem__)]

    def nearest_first(self) -> list[tuple[float, Any]]:
        return sorted(((value, thing) for thing, value in self._found.items()), key=lambda pair: -pair[0])


class NeighborSearch:
    """Looks for the neighbours of `queries` in the text that `add_text` is given.

    encoder: in evaluation mode; layer: whose vectors are compared in context, 0 to L, or -1 for the top one; num_neighbors: how
    many to find of each kind; vocabulary: the words among which neighbours without context are looked for, None for all words of
    the text; word_ids: each word's id where the biLM takes words.

    Raises `ValueError` for a `layer` there is none of and for `num_neighbors` below 1.
    """

    def __init__(
        self,
        encoder: BiLMEncoder,
        queries: Sequence[Place],
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
        self._near_words = [NearestOf(num_neighbors, query.word) for query in queries]
        self._near_places = [NearestOf(num_neighbors, query) for query in queries]
        self._searches_text_words = vocabulary is None
        self.num_skipped = 0
        free, contextual = zip(*(self._vectors_of([query.sentence]) for query in queries), strict=True)
        places = [query.position for query in queries]
        self._free = torch.stack([vectors[place] for vectors, place in zip(free, places, strict=True)])
        self._contextual = torch.stack([vectors[place] for vectors, place in zip(contextual, places, strict=True)])
        for first in range(0, len(vocabulary or ()), _WORDS_AT_ONCE):
            assert vocabulary is not None
            words = vocabulary[first : first + _WORDS_AT_ONCE]
            self._add_words(words, self._word_vectors(words))

    def add_text(self, sentences: Iterable[Sequence[str]]) -> None:
        """Looks through more of the text. Sentences longer than `MAX_SENTENCE_WORDS` are left out, which keeps memory bounded, and
        counted in `num_skipped`.
        """
        for batch in self._batches(sentences):
            free, contextual = self._vectors_of(batch)
            places = [(sentence, position) for sentence in batch for position in range(len(sentence))]
            similarities = contextual @ self._contextual.t()
            for nearest, column in zip(self._near_places, similarities.t(), strict=True):
                nearest.add(column, partial(_place_at, places))
            if self._searches_text_words:
                self._add_words([sentence[position] for sentence, position in places], free)

    def result(self) -> list[Neighbors]:
        """Of each query, among all text so far."""
        return [
            Neighbors(
                query,
                [NearWord(*each) for each in words.nearest_first()],
                [NearPlace(*each) for each in places.nearest_first()],
            )
            for query, words, places in zip(self._queries, self._near_words, self._near_places, strict=True)
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
            # Sorted, so that no sentence of the batch is longer than this one.
            if batch and (len(batch) + 1) * len(sentence) > BATCH_TOKENS:
                yield batch
                batch = []
            batch.append(sentence)
        if batch:
            yield batch

    @torch.no_grad()
    def _vectors_of(self, sentences: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        """Of each word of `sentences`, one after the other, of length 1: without context (M, D), and in context (M, K)."""
        ids = sentence_ids(sentences, self._encoder.max_characters, self._word_ids).to(self._device)
        layers, layout, _ = self._encoder(ids)
        free = layers[0][layout.row_of_word, : self._encoder.bilm.output_size]
        return F.normalize(free, dim=1), F.normalize(layers[self._layer][layout.row_of_word], dim=1)

    @torch.no_grad()
    def _word_vectors(self, words: Sequence[str]) -> Tensor:
        token_encoder = self._encoder.token_encoder
        if isinstance(token_encoder, WordEncoder):
            assert self._word_ids is not None
            unknown = self._word_ids[UNK_WORD]
            ids = torch.tensor([self._word_ids.get(word, unknown) for word in words], device=self._device)
        else:
            assert self._encoder.max_characters is not None
            ids = torch.from_numpy(encode_words(words, self._encoder.max_characters)).to(self._device)
        return F.normalize(token_encoder(ids), dim=1)


def _place_at(places: Sequence[tuple[Sequence[str], int]], index: int) -> Place:
    sentence, position = places[index]
    return Place(tuple(sentence), position)
