"""Words -> the ids of ELMoForManyLangs: the word in a dictionary of words, its code points in a dictionary of characters.

A word is first cut to `max_characters` - 2 code points. Its ids start at 1, because 0 marks a position without a word:

| Column | Id |
|---|---|
| 0, if the model has words | that of the cut word, or of `<oov>` |
| the next `max_characters`, if it has characters | begin of word, each code point or `<oov>`, end of word, then `<pad>` |

ELMoForManyLangs swaps the two marks: `<eow>` begins a word and `<bow>` ends it. The words `<bos>` and `<eos>`, which stand around each
sentence, are spelled by one character of the same name. The last character is `<pad>`, as `modules.char_cnn` requires.
"""

from collections.abc import Sequence
from typing import Optional

import numpy as np

from allennlp_elmo_plus.data.text.characters import check_words
from allennlp_elmo_plus.errors import InputError

BOS, EOS = "<bos>", "<eos>"
UNKNOWN, PADDING = "<oov>", "<pad>"
_BEGIN_WORD, _END_WORD = "<eow>", "<bow>"

_REQUIRED_WORDS = (UNKNOWN,)
_REQUIRED_CHARACTERS = (UNKNOWN, PADDING, _BEGIN_WORD, _END_WORD, BOS, EOS)


class ManyLangsIndexer:
    """The ids of words in a model of ELMoForManyLangs.

    Args:
        words: The words in the order of their ids; None for a model without words.
        characters: The characters in the order of their ids, `<pad>` last; None for a model without characters.
        max_characters: The characters of a word, its two marks included; at least 3.

    Raises:
        InputError: `words` or `characters` lack one of the names in angle brackets, or `<pad>` is not the last character.
    """

    def __init__(
        self, words: Optional[Sequence[str]], characters: Optional[Sequence[str]], max_characters: int
    ) -> None:
        _require("words", words, _REQUIRED_WORDS)
        _require("characters", characters, _REQUIRED_CHARACTERS)
        if characters is not None and characters[-1] != PADDING:
            raise InputError(f"`characters` must end with {PADDING}, got {characters[-1]!r}")
        self.boundaries = (BOS, EOS)
        self.words = words
        self.characters = characters
        self.max_characters = max_characters
        self._word_ids = {word: number for number, word in enumerate(words or (), start=1)}
        self._character_ids = {character: number for number, character in enumerate(characters or (), start=1)}

    @property
    def num_ids(self) -> int:
        """Return R, the number of ids of a word."""
        return (self.words is not None) + (0 if self.characters is None else self.max_characters)

    def ids(self, words: Sequence[str]) -> np.ndarray:
        """Return the ids of `words`, (U, R) int32.

        Raises:
            InputError: A word is no string.
        """
        check_words(words, "words")
        cut_words = [word[: self.max_characters - 2] for word in words]
        columns = []
        if self._word_ids:
            unknown = self._word_ids[UNKNOWN]
            numbers = [self._word_ids.get(word, unknown) for word in cut_words]
            columns.append(np.array(numbers, dtype=np.int32).reshape(-1, 1))
        if self._character_ids:
            columns.append(self._spell(cut_words))
        return np.concatenate(columns, axis=1)

    def _spell(self, words: Sequence[str]) -> np.ndarray:
        """Return the character ids of `words`, (U, `max_characters`) int32."""
        ids = self._character_ids
        unknown, begin, end = ids[UNKNOWN], ids[_BEGIN_WORD], ids[_END_WORD]
        spelled = np.full((len(words), self.max_characters), ids[PADDING], dtype=np.int32)
        for row, word in enumerate(words):
            spelling = [ids[word]] if word in self.boundaries else [ids.get(character, unknown) for character in word]
            spelled[row, : len(spelling) + 2] = [begin, *spelling, end]
        return spelled


def _require(name: str, tokens: Optional[Sequence[str]], required: Sequence[str]) -> None:
    if tokens is None:
        return
    present = set(tokens)
    missing = [token for token in required if token not in present]
    if missing:
        raise InputError(f"`{name}` must hold {', '.join(required)}, got none for {', '.join(missing)}")
