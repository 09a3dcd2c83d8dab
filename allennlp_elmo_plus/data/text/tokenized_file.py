"""Read a file of tokenized text more than once: one sentence per line, words separated by white space."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO, NamedTuple, Optional

from allennlp_elmo_plus.data.text.fasta import FastaFile, is_fasta
from allennlp_elmo_plus.data.text.text_files import TextSource, decode_blocks, line_blocks, name_of, open_text
from allennlp_elmo_plus.errors import InputError

_COPY_BYTES = 1 << 20


class TokenizedLine(NamedTuple):
    """A line of text, which is a sentence."""

    text: str  # without white space at its ends; in a FASTA file the identifier, with "_" for "/", at which HDF5 splits names
    words: list[str]


class TextSurvey(NamedTuple):
    """The size of a text, and a digest that identifies the text."""

    num_sentences: int  # lines, blank ones too
    num_words: int
    num_blank: int
    digest: str


class TokenizedFile(AbstractContextManager):
    """A text that each call of `lines` reads from its beginning, used in a `with` statement. A blank line is a sentence of no words.

    `source` is the path of a file, plain or `.gz`, or of a pipe, or "-" for standard input. A source that can be read only once is
    copied to a temporary file, which is deleted at the end of the `with` block, or of the process.

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
        """Yield the lines. Raises the errors of `data.text.text_files.iter_sentences`."""
        self._hash = hashlib.blake2b(digest_size=16)
        with self._open() as file:
            if isinstance(file, FastaFile):
                for record in file.records():
                    self._hash.update(f">{record.identifier}\n{record.sequence}\n".encode())
                    yield TokenizedLine(record.identifier.replace("/", "_"), list(record.sequence))
                return
            for block in decode_blocks(self._hashed(line_blocks(file, self.name)), self.name):
                for line in block:
                    yield TokenizedLine(line.strip(), line.split())

    def digest(self) -> str:
        """Return a hash of the text that the last call of `lines` has read so far."""
        return self._hash.hexdigest()

    def scan(self, as_keys: bool = False) -> TextSurvey:
        """Return the size and the digest of the text, after reading it once.

        Args:
            as_keys: Check that each line can be the name of an HDF5 dataset: not blank, not ".", without "/", and different from all
                lines before it.

        Raises:
            InputError: The text has no word, or a line that cannot be a name; or an error of `lines`.
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

    def _hashed(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self._hash.update(block)
            yield block

    def _check_key(self, text: str, number: int, seen: set[bytes]) -> None:
        # Digests take less memory than the lines.
        digest = hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()
        if not text:
            reason = "is blank"
        elif text == ".":
            reason = "is `.`, which HDF5 reads as the file itself"
        elif "/" in text:
            reason = "contains `/`, at which HDF5 splits names"
        elif digest in seen:
            reason = "repeats an earlier one"
        else:
            seen.add(digest)
            return
        if self.has_identifiers:
            raise InputError(f"{self.name}, sequence {number}: the identifier {reason}, so it cannot be a key")
        raise InputError(f"{self.name}, line {number}: the sentence {reason}, so it cannot be a key; use line numbers")

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        if os.path.isfile(self._source):
            with open_text(self._source) as file:
                yield file
            return
        if self._copy is None:
            with open_text(self._source) as file:
                self._copy = _copy_to_temporary_file(file, self.name)
        self._copy.seek(0)
        yield self._copy

    def __exit__(self, *_: object) -> None:
        if self._copy is not None:
            self._copy.close()
            self._copy = None


def _copy_to_temporary_file(file: BinaryIO, name: str) -> BinaryIO:
    copy = tempfile.TemporaryFile()
    try:
        while data := file.read(_COPY_BYTES):
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
