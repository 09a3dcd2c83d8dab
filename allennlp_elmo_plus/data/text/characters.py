"""Words -> character ids.

bilm-tf spells a word as the bytes of its UTF-8 form between a begin-of-word and an end-of-word mark, padded to a fixed width
(bilm/data.py, `UnicodeCharsVocabulary`). For inference bilm-tf adds 1 to every id, so that 0 can mark a position without a word. Here
the ids are shifted in training too.

| Meaning | bilm-tf id | id here |
|---|---|---|
| no word | | 0 |
| byte b | b | b + 1 |
| begin, end of sentence | 256, 257 | 257, 258 |
| begin, end of word | 258, 259 | 259, 260 |
| padding inside a word | 260 | 261 |
"""

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from allennlp_elmo_plus.errors import InputError, truncated_repr

BOS_WORD = "<S>"
EOS_WORD = "</S>"
UNK_WORD = "<UNK>"

DEFAULT_MAX_CHARACTERS = 50

# Memory grows with the width: it is that of every word, however short.
MAX_CHARACTERS = 1024

BEGIN_SENTENCE_ID = 257
END_SENTENCE_ID = 258
BEGIN_WORD_ID = 259
END_WORD_ID = 260
PADDING_ID = 261

_BOUNDARY_IDS = {BOS_WORD: BEGIN_SENTENCE_ID, EOS_WORD: END_SENTENCE_ID}
_BOUNDARY_FIRST_ID = ord("<") + 1

# Small enough that the rows stay in the cache while they are written.
_BLOCK_WORDS = 8192


def encode_words(words: Sequence[str], max_characters: int = DEFAULT_MAX_CHARACTERS) -> np.ndarray:
    """Return the character ids of each word, (len(words), C) int16.

    A word longer than C - 2 bytes is truncated, as in bilm-tf, even in the middle of a character. `<S>` and `</S>` are spelled by their
    single sentence-boundary id. Code points that UTF-8 cannot encode (lone surrogates) are left out.

    Args:
        words: The words.
        max_characters: C, from 3 to MAX_CHARACTERS. bilm-tf and AllenNLP require 50 for inference; at 50 the ids are AllenNLP's.

    Raises:
        ValueError: `max_characters` is out of range.
        InputError: A word is not a string.
    """
    check_max_characters(max_characters)
    check_words(words, "words")
    ids = np.full((len(words), max_characters), PADDING_ID, dtype=np.int16)
    for start in range(0, len(words), _BLOCK_WORDS):
        _spell(words[start : start + _BLOCK_WORDS], ids[start : start + _BLOCK_WORDS])
    return ids


def check_words(words: Iterable[object], name: str) -> None:
    """Raise an error for the first of `words` that is not a string.

    Raises:
        InputError: A word is not a string; the message names its index in `name`.
    """
    for index, word in enumerate(words):
        if not isinstance(word, str):
            raise InputError(
                f"`{name}[{index}]` must be a string, got {truncated_repr(word)}, in {truncated_repr(words)}"
            )


def check_sentence(words: object, name: str) -> None:
    """Raise an error if `words` is not a list of strings.

    Raises:
        InputError: `words`, which the message calls `name`, is not a list, or a word is not a string.
    """
    if isinstance(words, str):
        raise InputError(f"`{name}` must be a list of words, got the string {truncated_repr(words)}: split it first")
    if isinstance(words, bytes) or not isinstance(words, Collection):
        raise InputError(f"`{name}` must be a list of words, got {truncated_repr(words)}")
    check_words(words, name)


def _spell(words: Sequence[str], ids: np.ndarray) -> None:
    """Write the ids of `words` to `ids` (len(words), C), which holds padding only."""
    max_bytes = ids.shape[1] - 2
    spellings = [word.encode("utf-8", "ignore")[:max_bytes] for word in words]
    num_bytes = np.fromiter(map(len, spellings), dtype=np.int64, count=len(spellings))
    spelled = np.arange(num_bytes.max()) < num_bytes[:, None]
    ids[:, 0] = BEGIN_WORD_ID
    ids[:, 1 : 1 + spelled.shape[1]][spelled] = np.frombuffer(b"".join(spellings), dtype=np.uint8).astype(np.int16) + 1
    ids[np.arange(len(ids)), num_bytes + 1] = END_WORD_ID

    # The words are compared, not their bytes: a word that becomes `<S>` without its surrogates is not a boundary.
    for row in np.flatnonzero(ids[:, 1] == _BOUNDARY_FIRST_ID):
        if words[row] in _BOUNDARY_IDS:  # type: ignore[call-overload]
            ids[row] = spell_as(_BOUNDARY_IDS[words[row]], ids.shape[1])  # type: ignore[call-overload]


def spell_as(character_id: int, max_characters: int = DEFAULT_MAX_CHARACTERS) -> np.ndarray:
    """Return the ids of a word spelled by the single `character_id` (1 to 261), (C,) int16.

    Sentence boundaries are such words, and so are the `tokens_to_add` of AllenNLP's indexer.
    """
    check_max_characters(max_characters)
    ids = np.full(max_characters, PADDING_ID, dtype=np.int16)
    ids[:3] = BEGIN_WORD_ID, character_id, END_WORD_ID
    return ids


def word_lengths(ids: np.ndarray) -> np.ndarray:
    """Return the character positions before the padding of each word of `ids` (..., C): (...) int64, 0 without a word.

    The marks at the beginning and the end of a word count.
    """
    return np.count_nonzero((ids > 0) & (ids < PADDING_ID), axis=-1)


def is_truncated(word: str, max_characters: int = DEFAULT_MAX_CHARACTERS) -> bool:
    """Return whether `word` is longer than `max_characters` - 2 bytes, so that `encode_words` truncates it."""
    # A code point has at most 4 bytes in UTF-8, so most words need not be encoded.
    if 4 * len(word) <= max_characters - 2 or word in _BOUNDARY_IDS:
        return False
    return len(word.encode("utf-8", "ignore")) > max_characters - 2


def check_max_characters(max_characters: int) -> None:
    """Raise an error if `max_characters` has no room for a sentence boundary, 3 positions, or is above MAX_CHARACTERS.

    Raises:
        InputError: `max_characters` is out of range.
    """
    if max_characters < 3:
        raise InputError(f"`max_characters` must be at least 3, got {max_characters}")
    if max_characters > MAX_CHARACTERS:
        raise InputError(f"`max_characters` must be at most {MAX_CHARACTERS}, got {max_characters}")
