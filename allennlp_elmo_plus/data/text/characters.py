"""Words -> character ids.

bilm-tf spells a word as the bytes of its UTF-8 form between a begin-of-word and an end-of-word mark, padded to a fixed
width (bilm/data.py, `UnicodeCharsVocabulary`). Its inference side adds 1 to every id so that 0 can mark a position
without a word; here the ids are shifted everywhere, in training too.

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

# A field of tokens takes this much for each.
MAX_CHARACTERS = 1024

BEGIN_SENTENCE_ID = 257
END_SENTENCE_ID = 258
BEGIN_WORD_ID = 259
END_WORD_ID = 260
PADDING_ID = 261

_BOUNDARY_IDS = {BOS_WORD: BEGIN_SENTENCE_ID, EOS_WORD: END_SENTENCE_ID}
_BOUNDARY_FIRST_ID = ord("<") + 1

# Small enough for the rows being written to stay in cache.
_WORDS_AT_ONCE = 8192


def encode_words(words: Sequence[str], max_characters: int = DEFAULT_MAX_CHARACTERS) -> np.ndarray:
    """Character ids of each word: *Shape:* (len(words), C) int16, C = `max_characters`.

    A word longer than C - 2 bytes is cut there, as bilm-tf does, even in the middle of a character. `<S>` and `</S>`
    are spelled by their single sentence-boundary id. Code points that UTF-8 cannot encode (lone surrogates) are left
    out. bilm-tf and AllenNLP fix C at 50 for inference; at 50 the ids are AllenNLP's.

    Raises `ValueError` when `max_characters` is below 3, the width of a sentence boundary, or over MAX_CHARACTERS, and
    `InputError` for a word that is no string.
    """
    check_max_characters(max_characters)
    check_words(words, "words")
    ids = np.full((len(words), max_characters), PADDING_ID, dtype=np.int16)
    for first in range(0, len(words), _WORDS_AT_ONCE):
        _spell(words[first : first + _WORDS_AT_ONCE], ids[first : first + _WORDS_AT_ONCE])
    return ids


def check_words(words: Iterable[object], name: str) -> None:
    """Raises `InputError`, which names the first by its place in `name`, where one of `words` is no string."""
    for number, word in enumerate(words):
        if not isinstance(word, str):
            raise InputError(
                f"`{name}[{number}]` must be a string, got {truncated_repr(word)}, in {truncated_repr(words)}"
            )


def check_sentence(words: object, name: str) -> None:
    """Raises `InputError`, which calls them `name`, where `words` are no list of strings."""
    if isinstance(words, str):
        raise InputError(f"`{name}` must be a list of words, got the string {truncated_repr(words)}: split it first")
    if isinstance(words, bytes) or not isinstance(words, Collection):
        raise InputError(f"`{name}` must be a list of words, got {truncated_repr(words)}")
    check_words(words, name)


def _spell(words: Sequence[str], ids: np.ndarray) -> None:
    """Writes the ids of `words` over `ids`, (len(words), C), which is all padding."""
    max_bytes = ids.shape[1] - 2
    spellings = [word.encode("utf-8", "ignore")[:max_bytes] for word in words]
    num_bytes = np.fromiter(map(len, spellings), dtype=np.int64, count=len(spellings))
    spelled = np.arange(num_bytes.max()) < num_bytes[:, None]
    ids[:, 0] = BEGIN_WORD_ID
    ids[:, 1 : 1 + spelled.shape[1]][spelled] = np.frombuffer(b"".join(spellings), dtype=np.uint8).astype(np.int16) + 1
    ids[np.arange(len(ids)), num_bytes + 1] = END_WORD_ID

    # Only the word itself tells: a word that reads `<S>` once its surrogates are dropped is spelled like any other.
    for row in np.flatnonzero(ids[:, 1] == _BOUNDARY_FIRST_ID):
        if words[row] in _BOUNDARY_IDS:  # type: ignore[call-overload]
            ids[row] = spell_as(_BOUNDARY_IDS[words[row]], ids.shape[1])  # type: ignore[call-overload]


def spell_as(character_id: int, max_characters: int = DEFAULT_MAX_CHARACTERS) -> np.ndarray:
    """The ids of a word spelled by the single `character_id` (1 to 261): *Shape:* (C,) int16.

    Sentence boundaries are such words, and so are the extra tokens that AllenNLP's indexer calls `tokens_to_add`.
    """
    check_max_characters(max_characters)
    ids = np.full(max_characters, PADDING_ID, dtype=np.int16)
    ids[:3] = BEGIN_WORD_ID, character_id, END_WORD_ID
    return ids


def word_lengths(ids: np.ndarray) -> np.ndarray:
    """Number of character positions before the padding, begin and end of word included; 0 where there is no word.

    `ids` *Shape:* (..., C). Result *Shape:* (...) int64.
    """
    return np.count_nonzero((ids > 0) & (ids < PADDING_ID), axis=-1)


def is_truncated(word: str, max_characters: int = DEFAULT_MAX_CHARACTERS) -> bool:
    """Whether `encode_words` leaves out the end of `word`, for being longer than `max_characters` - 2 bytes."""
    # At most 4 bytes a code point, 1 at least for ASCII: most words need no encoding to know.
    if 4 * len(word) <= max_characters - 2 or word in _BOUNDARY_IDS:
        return False
    return len(word.encode("utf-8", "ignore")) > max_characters - 2


def check_max_characters(max_characters: int) -> None:
    """Raises `ValueError` when no sentence boundary, 3 positions, fits in `max_characters`, or it is over MAX_CHARACTERS."""
    if max_characters < 3:
        raise ValueError(f"`max_characters` must be at least 3, got {max_characters}")
    if max_characters > MAX_CHARACTERS:
        raise ValueError(f"`max_characters` must be at most {MAX_CHARACTERS}, got {max_characters}")
