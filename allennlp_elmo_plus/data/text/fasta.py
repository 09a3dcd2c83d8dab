"""Read FASTA files: sequences of proteins or nucleic acids, in which each character is a word."""

import codecs
import re
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO, NamedTuple

from allennlp_elmo_plus.errors import InputError, truncated_repr

# Not ".fa": it is also the code of the Persian language, in names of corpora.
FASTA_SUFFIXES = (".fasta", ".faa", ".fna")

MAX_RESIDUES = 1 << 19
_MAX_LINE_BYTES = 1 << 20

# IUPAC's codes, a gap, and a stop.
_RESIDUES = re.compile(b"[A-Za-z*-]*")


class FastaRecord(NamedTuple):
    """A sequence in upper case, and the first word of its header line."""

    identifier: str
    sequence: str


def is_fasta(name: str) -> bool:
    """Return whether the file `name` is a FASTA file, by its suffix, in capitals or not; `.gz` may follow."""
    return name.removesuffix(".gz").lower().endswith(FASTA_SUFFIXES)


class FastaFile:
    """An open FASTA file, as records or as a text with one sequence per line and one character per word.

    Args:
        file: The file, decompressed.
        name: The name of the file in messages.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._records = self.records()

    def read(self, num_bytes: int) -> bytes:
        """Return the next whole lines of the text, at least `num_bytes` bytes where the file has as many."""
        text = ""
        for record in self._records:
            text += " ".join(record.sequence) + "\n"
            if len(text) >= num_bytes:
                break
        return text.encode("ascii")

    def fileno(self) -> int:
        """Return the descriptor of the file, whose position shows how much was read."""
        return self._file.fileno()

    def records(self) -> Iterator[FastaRecord]:
        """Yield the records in order. White space in a sequence is ignored, and lower case is read as upper case.

        Raises:
            InputError: A header has no identifier; a sequence is empty, longer than `MAX_RESIDUES`, without a header, or has
                characters other than letters, `*` and `-`.
        """
        identifier, num_residues = "", 0
        parts: list[bytes] = []
        lines = iter(partial(self._file.readline, _MAX_LINE_BYTES), b"")
        for number, line in enumerate(lines, 1):
            place = f"{self._name}, line {number}"
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if line.startswith(b">"):
                if identifier:
                    yield self._record(identifier, parts)
                identifier, parts, num_residues = _identifier(line, place), [], 0
                continue
            part = b"".join(line.split())
            if part and not identifier:
                raise InputError(
                    f"{place}: a FASTA file must begin with a header such as `>id`, got {truncated_repr(part.decode('utf-8', 'replace'))}"
                )
            if not _RESIDUES.fullmatch(part):
                raise InputError(
                    f"{place}: a sequence must have only letters, `*` and `-`, got {truncated_repr(part.decode('utf-8', 'replace'))}"
                )
            num_residues += len(part)
            if num_residues > MAX_RESIDUES:
                raise InputError(f"{place}: a sequence must have at most {MAX_RESIDUES:,} characters")
            if part:
                parts.append(part)
        if identifier:
            yield self._record(identifier, parts)

    def _record(self, identifier: str, parts: list[bytes]) -> FastaRecord:
        if not parts:
            raise InputError(f"{self._name}: a sequence must not be empty, got none after `>{identifier}`")
        return FastaRecord(identifier, b"".join(parts).decode("ascii").upper())


def _identifier(header: bytes, place: str) -> str:
    words = header[1:].decode("utf-8", "replace").split(maxsplit=1)
    if not words:
        raise InputError(f"{place}: a header must have an identifier, got `>` alone")
    return words[0]
