"""Read tagged sentences in columns: CoNLL-U, and the older formats with one word and its tags per line."""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Union

from allennlp_elmo_plus.data.text.text_files import (
    TextSource,
    decode_blocks,
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
    """A sentence with one tag per word."""

    words: list[str]
    tags: list[str]


def read_tagged_sentences(path: Union[str, Path], file_format: str, tag_column: int) -> Iterator[TaggedSentence]:
    """Yield the sentences of a UTF-8 file, which blank lines separate. A byte order mark at its beginning is ignored.

    Args:
        path: A file, plain or `.gz`, or `-` for standard input.
        file_format: "conllu" has ten columns separated by tabs, with the word in the second. Comments, ranges of multiword tokens
            (`3-4`) and empty nodes (`8.1`) are ignored, so that the syntactic words remain, one tag each. "conll2003" has columns
            separated by spaces or tabs, with the word in the first. Lines of `-DOCSTART-` are ignored, and end a sentence.
        tag_column: The column of the tag, counted from 0, or from the end if negative.

    Raises:
        InputError: The format is another one, the file cannot be read, is not UTF-8 or has no sentence, or a line has too few columns,
            no word, no tag, or an id that is not valid in CoNLL-U.
    """
    if file_format not in FORMATS:
        raise InputError(f"`file_format` must be one of {', '.join(FORMATS)}, got {file_format!r}")
    is_conllu = file_format == CONLLU
    word_column = 1 if is_conllu else 0
    min_columns = max(_CONLLU_COLUMNS if is_conllu else 2, tag_column + 1, -tag_column)
    source = source_of(path)
    words: list[str] = []
    tags: list[str] = []
    has_sentences = False
    # One blank line is added, because the last sentence may have none after it.
    for location, line in chain(_numbered_lines(source), [("", "")]):
        if is_conllu and line.startswith("#"):
            continue
        columns = line.split("\t") if is_conllu else _SEPARATOR.split(line.rstrip(_WHITE_SPACE))
        if not line.strip(_WHITE_SPACE) or (not is_conllu and columns[0] == _DOCUMENT_START):
            if words:
                has_sentences = True
                yield TaggedSentence(words, tags)
                words, tags = [], []
            continue
        if len(columns) < min_columns:
            raise InputError(f"{location}: must have at least {min_columns} columns, got {len(columns)}")
        if is_conllu and _RANGE_OR_EMPTY_NODE.fullmatch(columns[0]):
            continue
        if is_conllu and not _WORD_ID.fullmatch(columns[0]):
            raise InputError(
                f"{location}: the id, in the first column, must be a whole number, a range such as 3-4 or a decimal such as 8.1, "
                f"got {truncated_repr(columns[0])}"
            )
        for column, content in ((word_column, "word"), (tag_column, "tag")):
            if not columns[column]:
                raise InputError(f"{location}: the {content} must not be empty, got {truncated_repr(line)}")
        words.append(columns[word_column])
        tags.append(columns[tag_column])
    if not has_sentences:
        raise InputError(f"{name_of(source)}: holds no sentence")


def _numbered_lines(source: TextSource) -> Iterator[tuple[str, str]]:
    # Yields the location of each line, for messages, and the line.
    name = name_of(source)
    with open_text(source) as file:
        blocks = decode_blocks(line_blocks(file, name), name, check_start=drop_byte_order_mark)
        for number, line in enumerate(chain.from_iterable(blocks), start=1):
            location, line = f"{name}, line {number}", line.rstrip("\r")
            if "\r" in line:
                raise InputError(
                    f"{location}: a line must end with a line feed, got a carriage return within {truncated_repr(line)}"
                )
            yield location, line
