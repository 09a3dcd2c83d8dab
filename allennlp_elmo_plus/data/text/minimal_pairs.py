"""Read minimal pairs: an acceptable and an unacceptable sentence that differ in one point of grammar."""

import json
import re
from collections.abc import Callable, Iterator
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from allennlp_elmo_plus.data.text.text_files import (
    decode_blocks,
    drop_byte_order_mark,
    line_blocks,
    name_of,
    open_text,
    resolve_paths,
)
from allennlp_elmo_plus.errors import InputError, truncated_repr

# An object or a list. A sentence may begin with a brace, but hardly with a brace and a quotation mark.
_BEGINS_AS_JSON = re.compile(r'\s*(\{\s*["}]|\[\s*([{\["]|$))')
# BLiMP's names of the acceptable and the unacceptable sentence, and of the phenomenon, the broadest first.
_SENTENCES_OF_JSON = ("sentence_good", "sentence_bad")
_PHENOMENA_OF_JSON = ("linguistics_term", "UID")
_SENTENCES_OF_TABLE = ("acceptable", "unacceptable")
_PHENOMENON_OF_TABLE = "phenomenon"

# The number and the text of each line that is not blank, counted from 1.
Lines = Iterator[tuple[int, str]]


class MinimalPair(NamedTuple):
    """A pair of sentences, each a list of words, and its place in a file."""

    file: str
    line: int  # of its first sentence, counted from 1
    phenomenon: str
    acceptable: list[str]
    unacceptable: list[str]


class _Texts(NamedTuple):
    """A pair whose sentences are not split into words."""

    line: int
    phenomenon: str
    acceptable: str
    unacceptable: str


def read_pairs(spec: str, split: Callable[[list[str]], list[list[str]]]) -> Iterator[MinimalPair]:
    """Yield the minimal pairs of a text.

    The first line of a file decides the format of the file:

    | First line | Each pair |
    |---|---|
    | a JSON object | a line: BLiMP's keys `sentence_good` and `sentence_bad`, and `linguistics_term` or `UID` for the phenomenon |
    | has a tab | a row of a table with the columns `acceptable`, `unacceptable` and, if there is one, `phenomenon` |
    | any other | two lines, the unacceptable sentence and then the acceptable one, as in Zorro |

    A pair without another phenomenon has the name of its file, without its suffix. Blank lines are skipped.

    Args:
        spec: The files, as for `data.text.text_files.resolve_paths`; each is UTF-8, plain or `.gz`.
        split: Returns the words of each text in a list.

    Raises:
        InputError: A file cannot be read, a pair lacks a sentence, a sentence has no word, or a file has no pair. The message names
            the file and the line.
    """
    for source in resolve_paths(spec):
        name = name_of(source)
        with open_text(source) as file:
            blocks = decode_blocks(line_blocks(file, name), name, check_start=drop_byte_order_mark)
            numbered = enumerate(chain.from_iterable(blocks), 1)
            lines = ((number, line.rstrip("\r")) for number, line in numbered if line.strip())
            texts = list(_texts(lines, name, Path(name.removesuffix(".gz")).stem))
        if not texts:
            raise InputError(f"{name}: must hold minimal pairs, got none")
        words = iter(split([sentence for pair in texts for sentence in (pair.acceptable, pair.unacceptable)]))
        for line, phenomenon, *_ in texts:
            yield MinimalPair(name, line, phenomenon, next(words), next(words))


def _texts(lines: Lines, name: str, phenomenon: str) -> Iterator[_Texts]:
    first = next(lines, None)
    if first is None:
        return
    read = _of_json if _BEGINS_AS_JSON.match(first[1]) else _of_table if "\t" in first[1] else _of_alternating_lines
    for pair in read(chain([first], lines), name, phenomenon):
        for sentence in (pair.acceptable, pair.unacceptable):
            if not sentence.strip():
                raise InputError(
                    f"{name}, line {pair.line}: a sentence must have a word, got {truncated_repr(sentence)}"
                )
        yield pair


def _of_alternating_lines(lines: Lines, name: str, phenomenon: str) -> Iterator[_Texts]:
    for unacceptable, acceptable in zip_longest(lines, lines):
        if acceptable is None or acceptable[0] != unacceptable[0] + 1:
            following = "the end of the file" if acceptable is None else "a blank line"
            raise InputError(
                f"{name}, line {unacceptable[0]}: an unacceptable sentence must be followed by an acceptable one, got {following}"
            )
        yield _Texts(unacceptable[0], phenomenon, acceptable[1], unacceptable[1])


def _of_json(lines: Lines, name: str, phenomenon: str) -> Iterator[_Texts]:
    for number, line in lines:
        try:
            record = json.loads(line)
            # Half a surrogate pair is no text.
            json.dumps(record, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise InputError(
                f"{name}, line {number}: must be a JSON object, as the first line, got {truncated_repr(line)}"
            )
        acceptable, unacceptable = (_sentence(record, key, f"{name}, line {number}") for key in _SENTENCES_OF_JSON)
        names = (record[key] for key in _PHENOMENA_OF_JSON if isinstance(record.get(key), str))
        yield _Texts(number, next(names, phenomenon), acceptable, unacceptable)


def _sentence(record: dict[str, Any], key: str, place: str) -> str:
    sentence = record.get(key)
    if not isinstance(sentence, str):
        raise InputError(f"{place}: `{key}` must be a sentence, got {truncated_repr(sentence)}")
    return sentence


def _of_table(lines: Lines, name: str, phenomenon: str) -> Iterator[_Texts]:
    columns = next(lines)[1].split("\t")
    for column in _SENTENCES_OF_TABLE:
        if column not in columns:
            raise InputError(
                f"{name}: the first row of a table must name the column `{column}`, got {truncated_repr(columns)}"
            )
    for number, line in lines:
        cells = line.split("\t")
        if len(cells) != len(columns):
            raise InputError(
                f"{name}, line {number}: a row must have {len(columns)} columns, as the first one, got {len(cells)}"
            )
        row = dict(zip(columns, cells, strict=True))
        yield _Texts(
            number, row.get(_PHENOMENON_OF_TABLE, phenomenon), *(row[column] for column in _SENTENCES_OF_TABLE)
        )
