"""One vector per sentence, and the similarity of sentences and of words in their sentences."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.modules.layer_mix import AVERAGE, LayerOutput


class PooledVectors(ABC):
    """The methods of `ElmoEmbedder` that only need the vectors of the words of a sentence."""

    @abstractmethod
    def embed_sentences(
        self, sentences: Iterable[Sequence[str]], layers: LayerOutput, progress_bar: bool = False
    ) -> Iterator[np.ndarray]:
        """Return an iterator over the vectors of `sentences`, (T, K) each, or (L + 1, T, K) with `layers` "all"."""

    def embed_pooled(
        self, sentences: Iterable[Sequence[str]], layers: LayerOutput = AVERAGE, progress_bar: bool = False
    ) -> np.ndarray:
        """Return one vector per sentence, the mean over its words, (B, K); zeros for a sentence without words.

        With `layers` "all" the mean of each layer is returned, (B, L + 1, K). The arguments are those of `embed_sentences`.
        """
        vectors = self.embed_sentences(sentences, layers, progress_bar)
        pooled = [mean_of_words(array).astype(array.dtype) for array in vectors]
        if pooled:
            return np.stack(pooled)
        # A sentence without words has the shape that the rows would have.
        return self.embed_pooled([[]], layers)[:0]

    def sentence_similarity(self, first: Sequence[str], second: Sequence[str], layers: LayerOutput = AVERAGE) -> float:
        """Return the cosine of the mean vectors of two sentences, lists of words; 0 where a sentence has no words."""
        return cosine(*self.embed_pooled([first, second], layers))

    def word_similarity(
        self,
        first: Sequence[str],
        first_position: int,
        second: Sequence[str],
        second_position: int,
        layers: LayerOutput = AVERAGE,
    ) -> float:
        """Return the cosine of the vectors of two words in their sentences.

        Args:
            first: a sentence, a list of words.
            first_position: the index of the word in `first`, from 0.
            second: the other sentence, which may be the same.
            second_position: the index of the word in `second`.
            layers: the vectors to compare; see `ElmoEmbedder`.

        Raises:
            InputError: a sentence is not a list of words, or has no word at the position.
        """
        words = []
        arrays = self.embed_sentences([first, second], layers)
        for name, array, position in zip(("first", "second"), arrays, (first_position, second_position), strict=True):
            num_words = array.shape[-2]
            if not 0 <= position < num_words:
                raise InputError(
                    f"`{name}_position` must be from 0, and below {num_words}, the words of `{name}`, got {position}"
                )
            words.append(array[..., position, :])
        return cosine(*words)


def mean_of_words(vectors: np.ndarray) -> np.ndarray:
    """Return the mean of `vectors` (..., T, K) over T, (..., K), summed in double precision; zeros where T is 0."""
    return vectors.sum(axis=-2, dtype=np.float64) / max(1, vectors.shape[-2])


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Return the cosine of the angle between two arrays of numbers, read as one vector each; 0 where one is all zeros."""
    first, second = first.ravel().astype(np.float64), second.ravel().astype(np.float64)
    norms = np.linalg.norm(first) * np.linalg.norm(second)
    return float(first @ second / norms) if norms else 0.0


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """Return `vectors` divided by their lengths; a vector of zeros stays."""
    vectors = vectors.astype(np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), np.finfo(np.float64).tiny)
