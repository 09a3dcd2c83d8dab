"""Words -> the ids that a token encoder reads, one class per kind of token encoder."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from allennlp_elmo_plus.data.text.characters import BOS_WORD, EOS_WORD, encode_words
from allennlp_elmo_plus.data.text.vocabulary import look_up_words


class WordIndexer(Protocol):
    """The vocabulary of a biLM.

    Attributes:
        boundaries: The words that stand before and after each sentence.
    """

    boundaries: tuple[str, str]

    def ids(self, words: Sequence[str]) -> np.ndarray:
        """Return the ids of U words: (U, R) for R ids per word, or (U,) for the lines of a vocabulary, from 0."""


class CharacterIndexer:
    """The character ids of bilm-tf; see `encode_words`.

    Args:
        max_characters: C, which is R.
    """

    def __init__(self, max_characters: int) -> None:
        self.boundaries = (BOS_WORD, EOS_WORD)
        self._max_characters = max_characters

    def ids(self, words: Sequence[str]) -> np.ndarray:
        """Return the character ids of `words`, (U, C)."""
        return encode_words(words, self._max_characters)


class VocabularyIndexer:
    """The lines of a vocabulary of bilm-tf.

    Args:
        vocabulary: The words in the order of their ids; a word that it lacks has the id of `<UNK>`.
    """

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self.boundaries = (BOS_WORD, EOS_WORD)
        self._ids = {word: number for number, word in enumerate(vocabulary)}

    def ids(self, words: Sequence[str]) -> np.ndarray:
        """Return the lines of `words`, (U,), counted from 0."""
        return np.array(look_up_words(words, self._ids), dtype=np.int64)
