"""Path specs -> sentences.

Text is UTF-8, one sentence a line, words separated by white space. It is read and decoded a block of lines at a time,
in constant memory.
"""

import codecs
import glob
import gzip
import json
import logging
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, Optional, Union

from allennlp_elmo_plus.data.text.fasta import FastaFile, is_fasta
from allennlp_elmo_plus.errors import InputError

logger = logging.getLogger(__name__)

STANDARD_INPUT = "-"
MAX_LINE_BYTES = 1 << 20

# What `python -m examples.stdlib_corpus` writes: where one is missing, it is more likely unmade than misspelt.
STDLIB_TRAIN_FILE = "train.txt"
STDLIB_HELDOUT_FILE = "heldout.txt"

# Not more than MAX_LINE_BYTES: then only the first line of a block, which may have begun in the one before, can be too
# long.
_READ_BYTES = 1 << 20

# Where as many lines are JSON, so is the file.
_LINES_TO_RECOGNIZE = 10

TextSource = Union[Path, str]


def resolve_paths(spec: Union[str, "os.PathLike[str]"]) -> list[TextSource]:
    """The files that `spec` names, in the order they are read.

    `spec` is a path, a glob, a directory (its regular files by name, hidden ones and subdirectories left out), `-` for
    standard input, or several of these separated by commas. A path that exists is taken as it is, even where it holds a
    comma or a glob character. A result is a `Path`, or `"-"`.

    Raises `InputError` when the spec or a part of it is empty, names nothing, or names something that holds no file.
    """
    text = os.fspath(spec)
    if os.path.exists(text):
        return _resolve_one(text, text)
    return [path for part in text.split(",") for path in _resolve_one(part.strip(), text)]


def source_of(path: Union[str, "os.PathLike[str]"]) -> TextSource:
    """The one file at `path`, or standard input where it is `-`."""
    return STANDARD_INPUT if os.fspath(path) == STANDARD_INPUT else Path(path)


def name_of(source: TextSource) -> str:
    """How messages name `source`."""
    return "standard input" if source == STANDARD_INPUT else str(source)


def _resolve_one(part: str, spec: str) -> list[TextSource]:
    within = "" if part == spec else f" (in `{spec}`)"
    if not part:
        raise InputError(f"the text to read is named by an empty path{within}")
    if part == STANDARD_INPUT:
        return [STANDARD_INPUT]
    if os.path.isdir(part):
        files = sorted(path for path in Path(part).iterdir() if path.is_file() and not path.name.startswith("."))
        if not files:
            raise InputError(f"`{part}`{within}: the directory holds no file to read")
        return list(files)
    if os.path.exists(part):
        return [Path(part)]
    if glob.has_magic(part):
        files = [Path(match) for match in sorted(glob.glob(part, recursive=True)) if os.path.isfile(match)]
        if not files:
            raise InputError(f"`{part}`{within}: the pattern matches no file")
        return list(files)
    hint = ""
    if Path(part).name in (STDLIB_TRAIN_FILE, STDLIB_HELDOUT_FILE):
        command = f"python -m examples.stdlib_corpus {Path(part).parent}"
        hint = f"; `{command}` makes one of the documentation of Python's standard library"
    raise InputError(f"`{part}`{within}: there is no such file{hint}")


def iter_sentences(spec: Union[str, "os.PathLike[str]"], encoding_errors: Optional[str] = None) -> Iterator[list[str]]:
    """The sentences of the text that `spec` names (see `resolve_paths`), each a list of words.

    A line ends at a line feed and nowhere else, and its words are what `str.split` finds, so that a carriage return
    before the line feed vanishes. A blank line is a sentence of no words, as in bilm-tf; bilm-tf also ends lines at a
    lone carriage return. Files whose names end in `.gz` are decompressed as they are read.

    `encoding_errors` says what to do with bytes that are not UTF-8: `"strict"` refuses them, `"replace"` reads each as
    U+FFFD. None is strict too, for callers whose users have no such option: the error then does not name it.

    A byte order mark at the beginning of a file is left out, and logged.

    The sequences of a FASTA file (`data/text/fasta.py`) are sentences, and their characters are words.

    Raises `InputError` at once for a bad `spec` or `encoding_errors`; while reading, it names file and line, for text
    that is not UTF-8, a NUL byte or a line longer than `MAX_LINE_BYTES`; for JSON lines; and in the end when there was no
    word at all.
    """
    return chain.from_iterable(iter_sentence_blocks(spec, encoding_errors))


def iter_sentence_blocks(
    spec: Union[str, "os.PathLike[str]"], encoding_errors: Optional[str] = None
) -> Iterator[list[list[str]]]:
    """The sentences of `iter_sentences` in lists of about a megabyte of text, for callers that work on many at once."""
    if encoding_errors is not None:
        check_encoding_errors(encoding_errors)
    return _sentence_blocks(resolve_paths(spec), os.fspath(spec), encoding_errors)


def check_encoding_errors(encoding_errors: str) -> None:
    """Raises `InputError` unless `encoding_errors` is `"strict"` or `"replace"`."""
    if encoding_errors not in ("strict", "replace"):
        raise InputError(f'`encoding_errors` must be "strict" or "replace", got {encoding_errors!r}')


def drop_byte_order_mark(data: bytes, name: str) -> bytes:
    """`data`, the beginning of the file called `name`, without a byte order mark; one that was there is logged."""
    if not data.startswith(codecs.BOM_UTF8):
        return data
    _log_byte_order_mark(name)
    return data[len(codecs.BOM_UTF8) :]


@lru_cache(maxsize=1024)
def _log_byte_order_mark(name: str) -> None:
    """Logs once of a file, which may be read more than once."""
    logger.warning("%s: the byte order mark at its beginning is left out", name)


def first_lines(data: bytes, name: str) -> bytes:
    """`data`, the first lines of the text called `name`, without a byte order mark.

    Raises `InputError` for JSON lines: each of the first lines is a JSON object, or a list of words, that is not empty.
    """
    data = drop_byte_order_mark(data, name)
    if not data.lstrip().startswith((b"{", b"[")):
        return data
    lines = list(islice(filter(bytes.strip, data.split(b"\n")), _LINES_TO_RECOGNIZE))
    try:
        values = [json.loads(line) for line in lines]
    except (ValueError, RecursionError):
        return data
    if all(isinstance(value, dict) and value for value in values):
        keys = (
            key for key, value in values[0].items() if isinstance(value, str) and key.isascii() and key.isidentifier()
        )
        key = next(keys, None)
        how = "take the text out" if key is None else f"take the text out, for example by `jq -r .{key} FILE`"
        advice = f"{how}, and split it into sentences and words"
    elif all(isinstance(value, list) and value and all(isinstance(word, str) for word in value) for value in values):
        advice = """write it so, for example by `jq -r 'join(" ")' FILE`"""
    else:
        return data
    raise InputError(
        f"{name}: must be plain text, a sentence a line, words separated by white space, got JSON lines; {advice}"
    )


def decode_lines(data: bytes, name: str, first_line: int, encoding_errors: Optional[str] = None) -> list[str]:
    """The lines of `data`, which is whole lines of the file called `name` from line `first_line` (1-based) on.

    Raises `InputError` with file and line for a NUL byte, and for bytes that are not UTF-8 unless `encoding_errors`
    replaces them; see `iter_sentences`.
    """
    lines = decode_block(data, name, first_line, encoding_errors).split("\n")
    if not lines[-1]:
        lines.pop()
    return lines


def decode_block(data: bytes, name: str, first_line: int, encoding_errors: Optional[str] = None) -> str:
    """`decode_lines` before the lines are cut apart."""
    nul = data.find(b"\0")
    if nul >= 0:
        raise InputError(f"{name}, line {first_line + data.count(10, 0, nul)}: NUL byte, so this is not UTF-8 text")
    try:
        return data.decode("utf-8", encoding_errors or "strict")
    except UnicodeDecodeError as error:
        line = first_line + data.count(10, 0, error.start)
        remedy = ' (with `encoding_errors: "replace"` such bytes are read as U+FFFD)' if encoding_errors else ""
        raise InputError(f"{name}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8{remedy}") from None


def _sentence_blocks(sources: list[TextSource], spec: str, encoding_errors: Optional[str]) -> Iterator[list[list[str]]]:
    found_word = False
    for source in sources:
        name = name_of(source)
        num_lines = 0
        with open_text(source, name) as file:
            for data in line_blocks(file, name):
                if num_lines == 0:
                    data = first_lines(data, name)
                block = [line.split() for line in decode_lines(data, name, num_lines + 1, encoding_errors)]
                num_lines += len(block)
                found_word = found_word or any(block)
                yield block
    if not found_word:
        hint = (
            " (standard input can be read only once, and only by the main process)" if STANDARD_INPUT in sources else ""
        )
        raise InputError(f"`{spec}`: there is not one word in this text{hint}")


def line_blocks(file: BinaryIO, name: str, num_bytes: Optional[int] = None) -> Iterator[bytes]:
    """Whole lines of `file`, about `_READ_BYTES` at a time; the last may lack its line feed. No more than the next `num_bytes` are
    read, which end with a line.
    """
    num_lines = 0
    begun = b""
    while True:
        data = file.read(_READ_BYTES if num_bytes is None else min(_READ_BYTES, num_bytes))
        if num_bytes is not None:
            num_bytes -= len(data)
        end = data.rfind(b"\n") + 1
        first_end = data.find(b"\n") if end else len(data)
        if len(begun) + first_end > MAX_LINE_BYTES:
            raise InputError(f"{name}, line {num_lines + 1}: the line is longer than {MAX_LINE_BYTES} bytes")
        if not data:
            break
        if end:
            block = begun + data[:end]
            num_lines += block.count(b"\n")
            yield block
            begun = data[end:]
        else:
            begun += data
    if begun:
        yield begun


@contextmanager
def open_text(source: TextSource, name: str) -> Iterator[BinaryIO]:
    """`source`, one of `resolve_paths`, decompressed where it needs it; errors of the file become `InputError` with `name`.

    A FASTA file is a `FastaFile`.
    """
    if source == STANDARD_INPUT:
        yield sys.stdin.buffer
        return
    try:
        with gzip.open(source, "rb") if name.endswith(".gz") else open(source, "rb") as file:
            yield FastaFile(file, name) if is_fasta(name) else file  # type: ignore[arg-type, misc]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{name}: not a whole gzip file ({error})") from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or error})") from None
