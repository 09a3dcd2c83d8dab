"""A file of tokenized text that is read more than once: a sentence a line, the same one each time."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .errors import InputError
from .text import decode_lines, line_blocks, open_text


class TokenizedLine(NamedTuple):
    text: str  # without white space at its ends
    words: list[str]


class TextSurvey(NamedTuple):
    """What there is to read, and a digest of it by which to know it again."""

    num_sentences: int  # lines, blank ones too
    num_words: int
    num_blank: int
    digest: str


class TokenizedFile:
    """
    The lines of the file at `path`, plain or `.gz`, read anew by each `lines()`: UTF-8, words separated by white space, a blank
    line a sentence of no words.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._hash = hashlib.blake2b(digest_size=16)

    def lines(self) -> Iterator[TokenizedLine]:
        """
        Raises InputError with file and line where a line cannot be used (`core/text.py`), and where the file cannot be read.
        """
        self._hash = hashlib.blake2b(digest_size=16)
        num_lines = 0
        with open_text(self.path, str(self.path)) as file:
            for data in line_blocks(file, str(self.path)):
                self._hash.update(data)
                lines = decode_lines(data, str(self.path), num_lines + 1)
                num_lines += len(lines)
                for line in lines:
                    yield TokenizedLine(line.strip(), line.split())

    def digest(self) -> str:
        """Of what `lines()` has read since it was called last."""
        return self._hash.hexdigest()

    def survey(self, as_keys: bool = False) -> TextSurvey:
        """
        Reads the text once. `as_keys` checks that each line can be the name of a dataset: not blank, not ".", without "/",
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
            raise InputError(f"{self.path}: there is not one word in this text")
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
            raise InputError(
                f"{self.path}, line {number}: a sentence cannot be a key where it {reason}; use line numbers"
            )
