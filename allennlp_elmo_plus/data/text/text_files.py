"""Files of text -> sentences of words.

Text is UTF-8 with one sentence per line and words separated by white space. It is read and decoded in blocks of lines, in constant
memory.
"""

import codecs
import glob
import gzip
import json
import logging
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, Optional, Union

from allennlp_elmo_plus.data.text.fasta import FastaFile, is_fasta
from allennlp_elmo_plus.errors import InputError

logger = logging.getLogger(__name__)

STANDARD_INPUT = "-"
MAX_LINE_BYTES = 1 << 20

# The texts that the configs of this package name.
_TEXTS_OF_CONFIGS = ("data/train.txt", "data/heldout.txt")

# At most the maximum of a line. So only the first line of a block, which may have begun in the block before, can be too long.
_READ_BYTES = 1 << 20

# A file that begins with this many lines of JSON is JSON.
_LINES_TO_RECOGNIZE = 10

TextSource = Union[Path, str]


def resolve_paths(spec: Union[str, "os.PathLike[str]"]) -> list[TextSource]:
    """Return the files that `spec` names, in reading order: a `Path` each, or "-" for standard input.

    Args:
        spec: A path, a glob, a directory (its regular files sorted by name, without hidden files and subdirectories), `-` for standard
            input, or several of these separated by commas. A path that exists is not split or expanded, even if it contains a comma or
            a glob character.

    Raises:
        InputError: A part of `spec` is empty, matches nothing, or is a directory without files.
    """
    text = os.fspath(spec)
    if os.path.exists(text):
        return _resolve_one(text, text)
    return [path for part in text.split(",") for path in _resolve_one(part.strip(), text)]


def is_named_by(spec: str, path: Union[str, "os.PathLike[str]"]) -> bool:
    """Return whether `path` is a file of `spec`, see `resolve_paths`, or would be one if it existed (not where a folder has a pattern)."""
    if os.path.exists(path):
        files = [source for source in resolve_paths(spec) if isinstance(source, Path) and source.exists()]
        return any(os.path.samefile(file, path) for file in files)
    directory, name = os.path.split(os.path.abspath(path))
    parts = [spec] if os.path.exists(spec) else map(str.strip, spec.split(","))
    for part in filter(lambda part: not os.path.isfile(part), parts):
        folder, pattern = (part, "[!.]*") if os.path.isdir(part) else os.path.split(part)
        if os.path.realpath(folder) == os.path.realpath(directory) and fnmatchcase(name, pattern):
            return True
    return False


def source_of(path: Union[str, "os.PathLike[str]"]) -> TextSource:
    """Return the single file at `path`, or standard input if `path` is `-`."""
    return STANDARD_INPUT if os.fspath(path) == STANDARD_INPUT else Path(path)


def name_of(source: TextSource) -> str:
    """Return the name of `source` in messages, with U+FFFD for bytes that are no UTF-8."""
    return "standard input" if source == STANDARD_INPUT else os.fsencode(source).decode("utf-8", "replace")


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
    if part in _TEXTS_OF_CONFIGS:
        hint = '; it is the config\'s own path: give yours with -o \'{"train_data_path": "FILE", "validation_data_path": "FILE"}\''
    raise InputError(f"`{part}`{within}: there is no such file{hint}")


def iter_sentences(spec: Union[str, "os.PathLike[str]"], encoding_errors: Optional[str] = None) -> Iterator[list[str]]:
    """Return an iterator over the sentences of a text, each a list of words.

    A line ends at a line feed only, and `str.split` separates its words, which removes a carriage return before the line feed. A blank
    line is a sentence of no words, as in bilm-tf; bilm-tf also ends lines at a lone carriage return. A byte order mark at the beginning
    of a file is ignored, with a warning. The sequences of a FASTA file (`data/text/fasta.py`) are sentences, and their characters are
    words.

    Args:
        spec: The files of the text, see `resolve_paths`. Files whose names end in `.gz` are decompressed.
        encoding_errors: "strict" refuses bytes that are not UTF-8, "replace" reads each as U+FFFD. None is strict too; the error then
            does not mention `encoding_errors`, for callers whose users have no such option.

    Raises:
        InputError: `spec` or `encoding_errors` is not valid. The iterator raises it, with file and line, for text that is not UTF-8, a
            NUL byte, a line longer than `MAX_LINE_BYTES` and JSON lines, and at the end for a text without a word.
    """
    return chain.from_iterable(iter_sentence_blocks(spec, encoding_errors))


def iter_sentence_blocks(
    spec: Union[str, "os.PathLike[str]"], encoding_errors: Optional[str] = None
) -> Iterator[list[list[str]]]:
    """Return the iterator of `iter_sentences` over lists of sentences, each list about a megabyte of text."""
    if encoding_errors is not None:
        check_encoding_errors(encoding_errors)
    return _sentence_blocks(resolve_paths(spec), os.fspath(spec), encoding_errors)


def check_encoding_errors(encoding_errors: str) -> None:
    """Raise an error unless `encoding_errors` is "strict" or "replace".

    Raises:
        InputError: `encoding_errors` has another value.
    """
    if encoding_errors not in ("strict", "replace"):
        raise InputError(f'`encoding_errors` must be "strict" or "replace", got {encoding_errors!r}')


def drop_byte_order_mark(data: bytes, name: str) -> bytes:
    """Return `data`, the beginning of the file `name`, without a byte order mark. Log a warning if it has one."""
    if not data.startswith(codecs.BOM_UTF8):
        return data
    _log_byte_order_mark(name)
    return data[len(codecs.BOM_UTF8) :]


@lru_cache(maxsize=1024)
def _log_byte_order_mark(name: str) -> None:
    """Log a warning once per file, which may be read several times."""
    logger.warning("%s: the byte order mark at its beginning is left out", name)


def first_lines(data: bytes, name: str) -> bytes:
    """Return `data`, the first lines of the file `name`, without a byte order mark.

    Raises:
        InputError: The text is JSON lines: each of the first lines is a JSON object, or a list of words, and not empty.
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
        text_keys = (
            key for key, value in values[0].items() if isinstance(value, str) and key.isascii() and key.isidentifier()
        )
        key = next(text_keys, "KEY")
        advice = f"`elmo-plus prepare FILE DIRECTORY --field {key} --language CODE` takes the text out and splits it so"
    elif all(isinstance(value, list) and value and all(isinstance(word, str) for word in value) for value in values):
        advice = """write it so, for example by `jq -r 'join(" ")' FILE`"""
    else:
        return data
    raise InputError(
        f"{name}: must be plain text, one sentence per line, words separated by white space, got JSON lines; {advice}"
    )


def decode_lines(data: bytes, name: str, first_line: int, encoding_errors: Optional[str] = None) -> list[str]:
    """Return the lines of `data`, which holds whole lines of the file `name`; the arguments are those of `decode_block`."""
    lines = decode_block(data, name, first_line, encoding_errors).split("\n")
    if not lines[-1]:
        lines.pop()
    return lines


def decode_block(data: bytes, name: str, first_line: int, encoding_errors: Optional[str] = None) -> str:
    """Return the text of `data`, which holds whole lines of the file `name`, from line number `first_line` (counted from 1) on.

    Raises:
        InputError: A line has a NUL byte, or bytes that are not UTF-8 and are not replaced.
    """
    nul = data.find(b"\0")
    if nul >= 0:
        raise InputError(f"{name}, line {first_line + data.count(10, 0, nul)}: NUL byte, so this is not UTF-8 text")
    try:
        return data.decode("utf-8", encoding_errors or "strict")
    except UnicodeDecodeError as error:
        line = first_line + data.count(10, 0, error.start)
        remedy = ' (with `encoding_errors: "replace"` such bytes are read as U+FFFD)' if encoding_errors else ""
        raise InputError(f"{name}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8{remedy}") from None


def decode_blocks(
    blocks: Iterable[bytes],
    name: str,
    encoding_errors: Optional[str] = None,
    check_start: Callable[[bytes, str], bytes] = first_lines,
) -> Iterator[list[str]]:
    """Yield the lines of each of `blocks`, see `line_blocks`, which together are the file `name`.

    `check_start` returns the first block without a byte order mark, and may refuse it: `first_lines` or `drop_byte_order_mark`.
    """
    num_lines = 0
    for data in blocks:
        if num_lines == 0:
            data = check_start(data, name)
        lines = decode_lines(data, name, num_lines + 1, encoding_errors)
        num_lines += len(lines)
        yield lines


def _sentence_blocks(sources: list[TextSource], spec: str, encoding_errors: Optional[str]) -> Iterator[list[list[str]]]:
    has_words = False
    for source in sources:
        name = name_of(source)
        with open_text(source) as file:
            for lines in decode_blocks(line_blocks(file, name), name, encoding_errors):
                block = [line.split() for line in lines]
                has_words = has_words or any(block)
                yield block
    if not has_words:
        hint = (
            " (standard input can be read only once, and only by the main process)" if STANDARD_INPUT in sources else ""
        )
        raise InputError(f"`{spec}`: there is not one word in this text{hint}")


def line_blocks(
    file: BinaryIO, name: str, num_bytes: Optional[int] = None, max_line_bytes: int = MAX_LINE_BYTES
) -> Iterator[bytes]:
    """Yield the next `num_bytes` of `file`, or all, in blocks of whole lines of about a megabyte; `name` is its name in messages.

    The last line may lack its line feed.

    Raises:
        InputError: A line is longer than `max_line_bytes`.
    """
    num_lines = 0
    partial_line = b""
    while True:
        data = file.read(_READ_BYTES if num_bytes is None else min(_READ_BYTES, num_bytes))
        if num_bytes is not None:
            num_bytes -= len(data)
        end = data.rfind(b"\n") + 1
        first_end = data.find(b"\n") if end else len(data)
        if len(partial_line) + first_end > max_line_bytes:
            raise InputError(f"{name}, line {num_lines + 1}: the line is longer than {max_line_bytes} bytes")
        if not data:
            break
        if end:
            block = partial_line + data[:end]
            num_lines += block.count(b"\n")
            yield block
            partial_line = data[end:]
        else:
            partial_line += data
    if partial_line:
        yield partial_line


@contextmanager
def open_text(source: TextSource) -> Iterator[BinaryIO]:
    """Yield `source` as an open file, decompressed if its name ends in `.gz`. A FASTA file is a `FastaFile`.

    Raises:
        InputError: The file cannot be read or decompressed, also while it is open.
    """
    if source == STANDARD_INPUT:
        yield sys.stdin.buffer
        return
    name = name_of(source)
    try:
        with gzip.open(source, "rb") if name.endswith(".gz") else open(source, "rb") as file:
            yield FastaFile(file, name) if is_fasta(name) else file  # type: ignore[arg-type, misc]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{name}: not a whole gzip file ({error})") from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or error})") from None
