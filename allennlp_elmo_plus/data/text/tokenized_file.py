"""A file of tokenized text that is read more than once: a sentence a line, the same one each time."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import BinaryIO, NamedTuple, Optional

from allennlp_elmo_plus.data.text.fasta import FastaFile, is_fasta
from allennlp_elmo_plus.data.text.text_files import (
    TextSource,
    decode_lines,
    first_lines,
    line_blocks,
    name_of,
    open_text,
)
from allennlp_elmo_plus.errors import InputError

_COPIED_AT_ONCE = 1 << 20


class TokenizedLine(NamedTuple):
    text: str  # without white space at its ends; in a FASTA file the identifier, with "_" for "/", at which HDF5 cuts names
    words: list[str]


class TextSurvey(NamedTuple):
    """What there is to read, and a digest of it by which to know it again."""

    num_sentences: int  # lines, blank ones too
    num_words: int
    num_blank: int
    digest: str


class TokenizedFile:
    """The lines of `source`, read anew by each `lines()`: UTF-8, words separated by white space, a blank line a sentence of no
    words. `source` is the path of a file, plain or `.gz`, or of a pipe, or `-` for standard input. What can be read only once is
    copied to a temporary file first, which is gone when the block ends, or the process.

    The lines of a FASTA file (`data/text/fasta.py`) are its sequences, with their identifiers as texts.
    """

    def __init__(self, source: TextSource) -> None:
        self.name = name_of(source)
        self._source = source
        # The copy of a pipe is a text without identifiers.
        self.has_identifiers = is_fasta(self.name) and os.path.isfile(source)
        self._copy: Optional[BinaryIO] = None
        self._hash = hashlib.blake2b(digest_size=16)

    def lines(self) -> Iterator[TokenizedLine]:
        """Raises InputError with file and line where a line cannot be used (`data/text/text_files.py`), and where the file cannot
        be read.
        """
        self._hash = hashlib.blake2b(digest_size=16)
        num_lines = 0
        with self._open() as file:
            if isinstance(file, FastaFile):
                for record in file.records():
                    self._hash.update(f">{record.identifier}\n{record.sequence}\n".encode())
                    yield TokenizedLine(record.identifier.replace("/", "_"), list(record.sequence))
                return
            for data in line_blocks(file, self.name):
                self._hash.update(data)
                if num_lines == 0:
                    data = first_lines(data, self.name)
                lines = decode_lines(data, self.name, num_lines + 1)
                num_lines += len(lines)
                for line in lines:
                    yield TokenizedLine(line.strip(), line.split())

    def digest(self) -> str:
        """Of what `lines()` has read since it was called last."""
        return self._hash.hexdigest()

    def scan(self, as_keys: bool = False) -> TextSurvey:
        """Reads the text once. `as_keys` checks that each line can be the name of a dataset: not blank, not ".", without "/",
        at which HDF5 cuts names, and not the same as one before.

        Raises InputError for such a line, naming it, and for a text without a word, beside what `lines` raises.
        """
        num_sentences = num_words = num_blank = 0
        seen: set[bytes] = set()
        for line in self.lines():
            num_sentences += 1
            num_words += len(line.words)
            num_blank += not line.words
            if as_keys:
                self._check_key(line.text, num_sentences, seen)
        if num_words == 0:
            raise InputError(f"{self.name}: there is not one word in this text")
        return TextSurvey(num_sentences, num_words, num_blank, self.digest())

    def _check_key(self, text: str, number: int, seen: set[bytes]) -> None:
        reason = ""
        if text in ("", "."):
            reason = "is blank" if not text else "is `.`, which HDF5 reads as the file itself"
        elif "/" in text:
            reason = "holds `/`, at which HDF5 cuts names apart"
        else:
            # Not the text, of which there may be much.
            digest = hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()
            if digest in seen:
                reason = "is one that came before"
            seen.add(digest)
        if reason:
            if self.has_identifiers:
                raise InputError(f"{self.name}, sequence {number}: an identifier cannot be a key where it {reason}")
            raise InputError(
                f"{self.name}, line {number}: a sentence cannot be a key where it {reason}; use line numbers"
            )

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        if os.path.isfile(self._source):
            with open_text(self._source, self.name) as file:
                yield file
            return
        if self._copy is None:
            with open_text(self._source, self.name) as file:
                self._copy = _copy_of(file, self.name)
        self._copy.seek(0)
        yield self._copy

    def __enter__(self) -> "TokenizedFile":
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if self._copy is not None:
            self._copy.close()
            self._copy = None


def _copy_of(file: BinaryIO, name: str) -> BinaryIO:
    """A temporary file, without a name, with the rest of `file`. Raises InputError where the disk has no room for it."""
    copy = tempfile.TemporaryFile()
    try:
        while data := file.read(_COPIED_AT_ONCE):
            try:
                copy.write(data)
                copy.flush()
            except OSError as error:
                raise InputError(
                    f"{name}: cannot be copied to `{tempfile.gettempdir()}`, the directory for temporary files, which the variable "
                    f"TMPDIR names: {error.strerror}"
                ) from None
    except BaseException:
        copy.close()
        raise
    return copy
