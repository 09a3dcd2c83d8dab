"""Tagged sentences in columns: CoNLL-U, and the older formats with a word and its tags a line."""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Union

from allennlp_elmo_plus.data.text.text_files import (
    TextSource,
    decode_lines,
    drop_byte_order_mark,
    line_blocks,
    name_of,
    open_text,
    source_of,
)
from allennlp_elmo_plus.errors import InputError, truncated_repr

CONLLU = "conllu"
CONLL2003 = "conll2003"
FORMATS = (CONLLU, CONLL2003)
_CONLLU_COLUMNS = 10
_DOCUMENT_START = "-DOCSTART-"

# Not Unicode's white space: a no-break space may be a part of a word.
_WHITE_SPACE = " \t"
_SEPARATOR = re.compile(f"[{_WHITE_SPACE}]+")

# Not `\d`, which finds the digits of other scripts too.
_WORD_ID = re.compile("[1-9][0-9]*")
_RANGE_OR_EMPTY_NODE = re.compile("[1-9][0-9]*-[1-9][0-9]*|[0-9]+[.][1-9][0-9]*")


class TaggedSentence(NamedTuple):
    words: list[str]
    tags: list[str]


def read_tagged_sentences(path: Union[str, Path], file_format: str, tag_column: int) -> Iterator[TaggedSentence]:
    """The sentences of a UTF-8 file, plain or `.gz`, or of standard input where `path` is `-`. Blank lines separate them.

    "conllu": ten columns separated by tabs, the word in the second; comments, ranges of multiword tokens (`3-4`) and empty nodes
    (`8.1`) are left out, so that the syntactic words remain, one tag each. "conll2003": columns separated by spaces or tabs, the
    word in the first; lines of `-DOCSTART-` are left out, and end a sentence. `tag_column` counts from 0, or from the end where
    negative. A byte order mark at the beginning of the file is left out.

    Raises InputError, naming file and line, for a file that cannot be read, is not UTF-8 or holds no sentence; for a line with too
    few columns, without a word or a tag, or with an id that CoNLL-U does not have; and for another format.
    """
    if file_format not in FORMATS:
        raise InputError(f"`file_format` must be one of {', '.join(FORMATS)}, got {file_format!r}")
    is_conllu = file_format == CONLLU
    word_column = 1 if is_conllu else 0
    least = max(_CONLLU_COLUMNS if is_conllu else 2, tag_column + 1, -tag_column)
    source = source_of(path)
    words: list[str] = []
    tags: list[str] = []
    found = False
    # A blank line more, as the last sentence may have none after it.
    for place, line in chain(_lines(source), [("", "")]):
        if is_conllu and line.startswith("#"):
            continue
        columns = line.split("\t") if is_conllu else _SEPARATOR.split(line.rstrip(_WHITE_SPACE))
        if not line.strip(_WHITE_SPACE) or (not is_conllu and columns[0] == _DOCUMENT_START):
            if words:
                found = True
                yield TaggedSentence(words, tags)
                words, tags = [], []
            continue
        if len(columns) < least:
            raise InputError(f"{place}: must have at least {least} columns, got {len(columns)}")
        if is_conllu and _RANGE_OR_EMPTY_NODE.fullmatch(columns[0]):
            continue
        if is_conllu and not _WORD_ID.fullmatch(columns[0]):
            raise InputError(
                f"{place}: the id, in the first column, must be a whole number, a range such as 3-4 or a decimal such as 8.1, "
                f"got {truncated_repr(columns[0])}"
            )
        for column, what in ((word_column, "word"), (tag_column, "tag")):
            if not columns[column]:
                raise InputError(f"{place}: the {what} must not be empty, got {truncated_repr(line)}")
        words.append(columns[word_column])
        tags.append(columns[tag_column])
    if not found:
        raise InputError(f"{name_of(source)}: holds no sentence")


def _lines(source: TextSource) -> Iterator[tuple[str, str]]:
    """Each line of the file with its place, for messages."""
    name = name_of(source)
    num_lines = 0
    with open_text(source, name) as file:
        for data in line_blocks(file, name):
            if num_lines == 0:
                data = drop_byte_order_mark(data, name)
            for line in decode_lines(data, name, num_lines + 1):
                num_lines += 1
                place, line = f"{name}, line {num_lines}", line.rstrip("\r")
                if "\r" in line:
                    raise InputError(
                        f"{place}: a line must end with a line feed, got a carriage return within {truncated_repr(line)}"
                    )
                yield place, line
