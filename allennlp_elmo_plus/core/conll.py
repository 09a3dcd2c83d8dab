"""Tagged sentences in columns: CoNLL-U, and the older formats with a word and its tags a line."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Union

from .errors import InputError

CONLLU = "conllu"
CONLL2003 = "conll2003"
FORMATS = (CONLLU, CONLL2003)
_CONLLU_COLUMNS = 10
_DOCUMENT_START = "-DOCSTART-"


class TaggedSentence(NamedTuple):
    words: list[str]
    tags: list[str]


def read_tagged_sentences(path: Union[str, Path], file_format: str, tag_column: int) -> Iterator[TaggedSentence]:
    """
    The sentences of a UTF-8 file, which blank lines separate.

    "conllu": ten columns separated by tabs, the word in the second; comments, ranges of multiword tokens (`3-4`) and empty nodes
    (`8.1`) are left out, so that the syntactic words remain, one tag each. "conll2003": columns separated by white space, the word
    in the first; lines of `-DOCSTART-` are left out. `tag_column` counts from 0, or from the end where negative.

    Raises InputError, naming file and line, for a file that cannot be read, is not UTF-8 or holds no sentence, for a line with too
    few columns, and for another format.
    """
    if file_format not in FORMATS:
        raise InputError(f"`file_format` must be one of {', '.join(FORMATS)}, got {file_format!r}")
    try:
        data = Path(path).read_bytes()
        lines = data.decode("utf-8").split("\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {number}: must be UTF-8, got the byte 0x{data[error.start]:02x}") from None
    word_column = 1 if file_format == CONLLU else 0
    words: list[str] = []
    tags: list[str] = []
    found = False
    for number, line in enumerate([*lines, ""], start=1):
        line = line.rstrip("\r")
        if not line.strip():
            if words:
                found = True
                yield TaggedSentence(words, tags)
                words, tags = [], []
            continue
        if file_format == CONLLU and line.startswith("#"):
            continue
        columns = line.split("\t") if file_format == CONLLU else line.split()
        least = max(_CONLLU_COLUMNS if file_format == CONLLU else 2, tag_column + 1, -tag_column)
        if len(columns) < least:
            raise InputError(f"{path}, line {number}: must have at least {least} columns, got {len(columns)}")
        if file_format == CONLLU and not columns[0].isdecimal():
            continue
        if file_format == CONLL2003 and columns[0] == _DOCUMENT_START:
            continue
        words.append(columns[word_column])
        tags.append(columns[tag_column])
    if not found:
        raise InputError(f"{path}: holds no sentence")
