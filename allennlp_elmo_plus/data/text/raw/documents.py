"""Read the documents of raw text: paragraphs of plain text, a field of JSON lines, a column of a table (CSV, TSV)."""

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Optional, Union

from allennlp_elmo_plus.data.text.bytes_read import Report, reported
from allennlp_elmo_plus.data.text.fasta import is_fasta
from allennlp_elmo_plus.data.text.text_files import (
    MAX_LINE_BYTES,
    decode_blocks,
    drop_byte_order_mark,
    first_lines,
    line_blocks,
    name_of,
    open_text,
    resolve_paths,
)
from allennlp_elmo_plus.errors import InputError, truncated_repr

TABLE_SUFFIXES = (".csv", ".tsv")
MAX_RECORD_BYTES = 1 << 26
# spaCy's own limit. It also bounds the memory that a text without blank lines takes.
MAX_PARAGRAPH_CHARACTERS = 1_000_000
# What UTF-8 cannot encode, and NUL.
_NO_TEXT = re.compile(r"[\0\ud800-\udfff]")
# The length of a list of columns in a message.
_MAX_NAMES = 300

# The paragraphs of a document, each without line breaks and with single spaces between its words.
Document = list[str]


def iter_documents(
    spec: Union[str, "os.PathLike[str]"],
    field: Optional[str] = None,
    paragraph_per_line: bool = False,
    report: Report = lambda num_bytes: None,
) -> Iterator[Document]:
    """Yield the documents of raw text in the order of the files.

    A file whose name ends in `.csv` or `.tsv` is a table with a row of column names. With a `field`, every other file is JSON lines.
    Without a `field` it is plain text, in which each paragraph is a document. `.gz` may follow a name.

    Args:
        spec: The files, as for `data.text.text_files.resolve_paths`; each is UTF-8, plain or `.gz`.
        field: The name of the text's column, or of its key in each JSON object. An object whose value is null is a document without
            paragraphs, and so is an empty value.
        paragraph_per_line: Each line is a paragraph. Otherwise, blank lines separate paragraphs, and a line break is a space.
        report: Called repeatedly with the number of bytes read since the last call; compressed bytes of a `.gz` file.

    Raises:
        InputError: A file is not UTF-8 or cannot be read, is in another format than its name and `field` say, or is a FASTA file; a
            record has no such field, or another value than text; a paragraph or record is too long.
    """
    for source in resolve_paths(spec):
        name = name_of(source)
        if is_fasta(name):
            raise InputError(f"{name}: a FASTA file needs no preparation, every command reads it")
        is_table = Path(name.removesuffix(".gz")).suffix.lower() in TABLE_SUFFIXES
        is_plain = field is None and not is_table
        max_line_bytes = MAX_LINE_BYTES if is_plain else MAX_RECORD_BYTES
        with open_text(source) as file:
            blocks = reported(line_blocks(file, name, max_line_bytes=max_line_bytes), file, source, report)
            decoded = decode_blocks(blocks, name, check_start=first_lines if is_plain else drop_byte_order_mark)
            lines = chain.from_iterable(decoded)
            if is_plain:
                yield from ([paragraph] for paragraph in _paragraphs(lines, paragraph_per_line, name))
                continue
            texts = _column(lines, name, field) if is_table else _json_values(lines, name, str(field))
            for place, text in texts:
                yield list(_paragraphs(text.split("\n"), paragraph_per_line, place))


def _paragraphs(lines: Iterable[str], paragraph_per_line: bool, place: str) -> Iterator[str]:
    """Yield the paragraphs of `lines` that have a word; `place` is their name in messages.

    Raises:
        InputError: A paragraph is too long.
    """
    words: list[str] = []
    num_characters = 0
    for line in chain(lines, [""]):
        line_words = line.split()
        num_characters += len(line) + bool(words and line_words)
        if num_characters > MAX_PARAGRAPH_CHARACTERS:
            remedy = "" if paragraph_per_line else "; if each line is a paragraph, use `--paragraph-per-line`"
            beginning = truncated_repr(" ".join([*words[:10], *line_words[:10]]))
            raise InputError(
                f"{place}: a paragraph must have at most {MAX_PARAGRAPH_CHARACTERS:,} characters, got more after {beginning}{remedy}"
            )
        words += line_words
        if words and (paragraph_per_line or not line_words):
            yield " ".join(words)
        if paragraph_per_line or not line_words:
            words, num_characters = [], 0


def _json_values(lines: Iterable[str], name: str, field: str) -> Iterator[tuple[str, str]]:
    """Yield the place and the value of `field` of each JSON object, one per line.

    Raises:
        InputError: A line is no JSON object, or its `field` is missing or no text.
    """
    for number, line in enumerate(lines, 1):
        place = f"{name}, line {number}"
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            remedy = "; `jq -c '.[]' FILE` makes lines of a list" if line.lstrip().startswith("[") else ""
            raise InputError(
                f"{place}: must be a JSON object, because `--field` reads JSON lines, got {truncated_repr(line)}{remedy}"
            )
        _check_name(field, list(record), place)
        value = "" if record[field] is None else record[field]
        if not isinstance(value, str):
            raise InputError(f"{place}: the field {field!r} must be text, got {truncated_repr(value)}")
        if _NO_TEXT.search(value):
            raise InputError(f"{place}: the field {field!r} must be text, got a NUL character or half a surrogate pair")
        yield place, value


def _column(lines: Iterator[str], name: str, field: Optional[str]) -> Iterator[tuple[str, str]]:
    """Yield the place and the value in the column `field` of each row. The separator is the most frequent one in the first row.

    Raises:
        InputError: There is no such column, or a row is malformed.
    """
    # The limit is the process's; the default is 131,072 characters in a field.
    csv.field_size_limit(MAX_RECORD_BYTES)
    first_row = next(lines, "")
    delimiter = max(",;\t", key=first_row.count)
    rows = csv.reader((f"{line}\n" for line in chain([first_row], lines)), delimiter=delimiter, strict=True)
    try:
        columns = next(rows)
        _check_name(field, columns, name)
        index = columns.index(str(field))
        for row in rows:
            place = f"{name}, line {rows.line_num}"
            if row and len(row) != len(columns):
                raise InputError(f"{place}: a row must have {len(columns)} columns, as the first one, got {len(row)}")
            if delimiter == "\t" and any(_has_row(value, len(columns)) for value in row):
                raise InputError(
                    f"{place}: a quotation mark that opens a field seems to have joined rows: write the mark twice, in a quoted field, or "
                    "replace tabs inside of fields"
                )
            if row:
                yield place, row[index]
    except csv.Error as error:
        raise InputError(f"{name}, line {rows.line_num}: must be a row of a table (CSV), got: {error}") from None


def _has_row(value: str, num_columns: int) -> bool:
    """Return whether the field `value` holds a row of a table with tabs.

    Such tables often have no quoting: then a quotation mark at the start of a field is part of the text, and opens no field.
    """
    lines = value.split("\n")
    return len(lines) > 1 and any(line.count("\t") == num_columns - 1 > 0 for line in lines)


def _check_name(field: Optional[str], names: list[str], place: str) -> None:
    if field not in names:
        listed = ", ".join(map(repr, names))[:_MAX_NAMES] or "no field"
        raise InputError(f"{place}: `--field` must be one of {listed}, got {'none' if field is None else repr(field)}")
