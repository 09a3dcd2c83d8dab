"""Order the words of a vocabulary, and read and write its file.

The file is that of bilm-tf: one word per line, and the id of a word is its line number counted from 0. `<S>`, `</S>` and `<UNK>` must
be in it. The order is by falling frequency, as the log-uniform sampler of the softmax assumes. bilm-tf checks neither.
"""

import os
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import NamedTuple, Optional, Union

from allennlp_elmo_plus.data.text.characters import BOS_WORD, EOS_WORD, UNK_WORD
from allennlp_elmo_plus.data.text.text_files import decode_lines, drop_byte_order_mark
from allennlp_elmo_plus.errors import InputError, count_in_words, truncated_repr
from allennlp_elmo_plus.storage.atomic_files import atomic_path

SPECIAL_WORDS = (BOS_WORD, EOS_WORD, UNK_WORD)

# Thirty times the vocabulary of the published model.
MAX_VOCABULARY_BYTES = 2**28
_READ_BYTES = 2**20

# A file with more problems is not a vocabulary.
_MAX_PROBLEMS = 10_000

# WikiText and the Penn Treebank text for language models write this in place of a rare word. In a vocabulary it would be a second class
# of unknown words beside `<UNK>`.
UNKNOWN_MARK = "<unk>"
_NOT_COUNTED = frozenset((*SPECIAL_WORDS, UNKNOWN_MARK))

# Not all of Unicode's white space: two words that differ only in a no-break space keep their two ids.
_LINE_WHITE_SPACE = " \t\r\v\f"


def order_by_frequency(counts: Mapping[str, int], min_count: int = 1, max_size: Optional[int] = None) -> list[str]:
    """Return the words of a vocabulary in the order of their ids: `<S>`, `</S>`, `<UNK>`, then by falling count and by code point.

    Special words that occur in the text are not repeated. `<unk>`, which prepared texts have in place of rare words, gets no id of its
    own: as a target it is `<UNK>`.

    Args:
        counts: The number of occurrences of each word.
        min_count: Words that occur less often are left out; at least 1.
        max_size: The maximum number of words, the three special words included; at least 4. The rarest words are left out.

    Raises:
        InputError: `min_count` or `max_size` is too small, or no word is left.
    """
    if min_count < 1:
        raise InputError(f"`min_count` must be at least 1, got {min_count}")
    if max_size is not None and max_size <= len(SPECIAL_WORDS):
        specials = ", ".join(SPECIAL_WORDS)
        raise InputError(
            f"`max_size` must be at least {len(SPECIAL_WORDS) + 1}, as it counts {specials}, got {max_size}"
        )
    words = [word for word, count in counts.items() if count >= min_count and word not in _NOT_COUNTED]
    if not words:
        raise InputError(
            f"no word occurs at least {count_in_words(min_count, 'time')} (`min_count`), so the vocabulary would be empty"
        )
    words.sort(key=lambda word: (-counts[word], word))
    return [*SPECIAL_WORDS, *words][:max_size]


def look_up_words(words: Iterable[str], ids: Mapping[str, int]) -> list[int]:
    """Return the id of each of `words` in `ids`, and that of `<UNK>` for a word that `ids` lacks."""
    unknown = ids[UNK_WORD]
    return [ids.get(word, unknown) for word in words]


class VocabularyFile(NamedTuple):
    """The word of each line of a vocabulary file, and one message for each problem because of which the file cannot be used."""

    words: list[str]
    problems: list[str]


def read_vocabulary(path: Union[str, "os.PathLike[str]"]) -> list[str]:
    """Return the words of a vocabulary file in the order of their bilm-tf ids, without the white space around them.

    Raises:
        InputError: As in `examine_vocabulary`; or a line is empty or has several words, a word occurs twice, or a special word is
            missing. bilm-tf accepts all of these, and trains with wrong ids.
    """
    return parse_vocabulary(read_vocabulary_bytes(path), str(path))


def examine_vocabulary(path: Union[str, "os.PathLike[str]"]) -> VocabularyFile:
    """Return the words of a vocabulary file, and the problems for which `read_vocabulary` refuses it: at most about 10,000, by line.

    Raises:
        InputError: The file cannot be read, is larger than MAX_VOCABULARY_BYTES or is not UTF-8.
    """
    return _examine(read_vocabulary_bytes(path), str(path))


def read_vocabulary_bytes(path: Union[str, "os.PathLike[str]"]) -> bytes:
    """Return the content of the file at `path`; of a file larger than MAX_VOCABULARY_BYTES, a part that is larger too.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            # In blocks: one large read allocates its whole size first, even for a small file.
            blocks = iter(lambda: file.read(_READ_BYTES), b"")
            return b"".join(islice(blocks, MAX_VOCABULARY_BYTES // _READ_BYTES + 1))
    except OSError as error:
        raise InputError(f"{path}: the vocabulary cannot be read ({error.strerror})") from None


def parse_vocabulary(data: bytes, source: str) -> list[str]:
    """Return the words of the vocabulary file with the content `data`; `source` is its name in errors.

    Raises:
        InputError: As in `read_vocabulary`.
    """
    file = _examine(data, source)
    if file.problems:
        raise InputError(file.problems[0])
    return file.words


def _examine(data: bytes, source: str) -> VocabularyFile:
    if len(data) > MAX_VOCABULARY_BYTES:
        raise InputError(f"{source}: a vocabulary must be at most {MAX_VOCABULARY_BYTES:,} bytes, got more")
    data = drop_byte_order_mark(data, source)
    words = [line.strip(_LINE_WHITE_SPACE) for line in decode_lines(data, source, first_line=1)]
    problems: list[str] = []
    first_lines: dict[str, int] = {}
    for number, word in enumerate(words, start=1):
        if len(problems) == _MAX_PROBLEMS:
            break
        if not word:
            problems.append(f"{source}, line {number}: the line is empty, a vocabulary has one word on each line")
        elif any(character in word for character in _LINE_WHITE_SPACE):
            problems.append(
                f"{source}, line {number}: a vocabulary has one word on each line, got {truncated_repr(word)}"
            )
        else:
            first = first_lines.setdefault(word, number)
            if first != number:
                problems.append(f"{source}, line {number}: {truncated_repr(word)} is on line {first} already")
    missing = [word for word in SPECIAL_WORDS if word not in first_lines]
    if missing:
        problems.append(f"{source}: the vocabulary lacks {', '.join(missing)}")
    return VocabularyFile(words, problems)


def write_vocabulary(path: Union[str, "os.PathLike[str]"], words: Iterable[str]) -> None:
    """Write `words`, in the order of their ids, to a file that `read_vocabulary` and bilm-tf read."""
    with atomic_path(path) as temporary:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(word + "\n" for word in words)
