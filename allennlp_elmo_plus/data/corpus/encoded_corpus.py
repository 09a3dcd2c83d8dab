"""Text -> type ids on disk.

Each distinct word of a text is a type: `<S>` is 0, `</S>` is 1, and the others are numbered in the order of the text. The text is read
once and stored as one number per word, memory-mapped, beside a table that spells each type. Memory grows with the number of types, not
with the length of the text, while encoding and afterwards.
"""

import hashlib
import logging
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Union

import numpy as np

from allennlp_elmo_plus.data.text.characters import (
    BOS_WORD,
    DEFAULT_MAX_CHARACTERS,
    EOS_WORD,
    check_max_characters,
    encode_words,
    word_lengths,
)
from allennlp_elmo_plus.data.text.text_files import iter_sentence_blocks
from allennlp_elmo_plus.data.text.truncation import truncated_words
from allennlp_elmo_plus.data.text.vocabulary import SPECIAL_WORDS, look_up_words
from allennlp_elmo_plus.errors import InputError, count_in_words

logger = logging.getLogger(__name__)

# Type ids of the sentence boundaries in every corpus.
BOS_TYPE = 0
EOS_TYPE = 1

WORDS_FILE = "words.txt"
ARRAY_TYPES: dict[str, np.dtype] = {
    "tokens": np.dtype("<u4"),
    "offsets": np.dtype("<i8"),
    "type_characters": np.dtype("<i2"),
    "type_lengths": np.dtype("<i4"),
    "type_counts": np.dtype("<i8"),
}

_SECONDS_BETWEEN_REPORTS = 10


class EncodedCorpus:
    """A text of at least one word as type ids, which `encode_text` wrote to `directory`.

    Attributes:
        tokens: (num_tokens,) uint32, the type of each word, without sentence boundaries.
        offsets: (num_sentences + 1,) int64, the index in `tokens` at which each sentence starts, and the number of tokens.
        type_characters: (num_types, C) int16, the spelling of each type, see `data/text/characters.py`.
        type_lengths: (num_types,) int32, positions in `type_characters` before the padding.
        type_counts: (num_types,) int64, the number of times that each type occurs in `tokens`.
    """

    def __init__(self, directory: Path, max_characters: int) -> None:
        self.directory = directory

        def array(name: str) -> np.ndarray:
            # A plain array: a slice of a few elements of `np.memmap` takes several times as long.
            return np.asarray(np.memmap(directory / name, ARRAY_TYPES[name], mode="r"))

        self.tokens = array("tokens")
        self.offsets = array("offsets")
        self.type_characters = array("type_characters").reshape(-1, max_characters)
        self.type_lengths = array("type_lengths")
        self.type_counts = array("type_counts")
        # Mapped like the arrays: another program may replace the directory while this one reads it.
        self._words = np.memmap(directory / WORDS_FILE, np.uint8, mode="r")

    @property
    def num_tokens(self) -> int:
        """Return the number of words."""
        return len(self.tokens)

    @property
    def num_sentences(self) -> int:
        """Return the number of lines, blank lines included."""
        return len(self.offsets) - 1

    @property
    def num_types(self) -> int:
        """Return the number of distinct words, `<S>` and `</S>` included."""
        return len(self.type_characters)

    def digest(self) -> str:
        """Return a hash of all words and sentence ends, in order; each call reads them all."""
        digest = hashlib.blake2b(digest_size=16)
        for values in (self.tokens, self.offsets, self._words):
            digest.update(values.data)
        return digest.hexdigest()

    def type_words(self) -> list[str]:
        """Return the word of each type; each call reads them all."""
        return self._words.tobytes().decode("utf-8").split("\n")[:-1]

    def vocabulary_ids(self, vocabulary: Mapping[str, int]) -> np.ndarray:
        """Return the id of each type in `vocabulary`, that of `<UNK>` for a word that it lacks: (num_types,) int64.

        Raises:
            InputError: Where `vocabulary` lacks `<S>`, `</S>` or `<UNK>`.
        """
        missing = [word for word in SPECIAL_WORDS if word not in vocabulary]
        if missing:
            raise InputError(f"the vocabulary must hold <S>, </S> and <UNK>, but lacks {', '.join(missing)}")
        return np.array(look_up_words(self.type_words(), vocabulary), dtype=np.int64)


class CorpusWriter:
    """Appends to the files of an `EncodedCorpus`, see `create_corpus`."""

    def __init__(self, files: Mapping[str, BinaryIO]) -> None:
        self._files = files

    def write(self, name: str, values: np.ndarray) -> None:
        """Append `values` to the array `name`, converted to its type."""
        self._files[name].write(np.ascontiguousarray(values, dtype=ARRAY_TYPES[name]).data)

    def write_types(self, words: Sequence[str], characters: np.ndarray, lengths: np.ndarray) -> None:
        """Append types: their `words`, the `characters` (len(words), C) that spell them, and `lengths` (len(words),)."""
        self.write("type_characters", characters)
        self.write("type_lengths", lengths)
        self._files[WORDS_FILE].write("".join(f"{word}\n" for word in words).encode("utf-8"))


@contextmanager
def create_corpus(directory: Path) -> Iterator[CorpusWriter]:
    """Yield a writer of a new corpus in `directory`, which must exist. The writer has already written the first of `offsets`, 0."""
    with ExitStack() as stack:
        writer = CorpusWriter(
            {name: stack.enter_context(open(directory / name, "wb")) for name in (*ARRAY_TYPES, WORDS_FILE)}
        )
        writer.write("offsets", np.zeros(1))
        yield writer


class _TypeTable(dict[str, int]):
    """The type id of each word. A look-up of a new word gives it the next id, and appends it to `new_words`."""

    def __init__(self) -> None:
        super().__init__({BOS_WORD: BOS_TYPE, EOS_WORD: EOS_TYPE})
        self.new_words = [BOS_WORD, EOS_WORD]

    def __missing__(self, word: str) -> int:
        type_id = len(self)
        self[word] = type_id
        self.new_words.append(word)
        return type_id


def encode_text(
    spec: Union[str, "os.PathLike[str]"],
    directory: Path,
    encoding_errors: str = "strict",
    max_characters: int = DEFAULT_MAX_CHARACTERS,
) -> None:
    """Write the text that `spec` names to `directory`, as an `EncodedCorpus` reads it.

    Log the progress, and at the end the share of truncated words, see `data/text/truncation.py`. Raise the errors of
    `data.text.text_files.iter_sentences`.

    Args:
        spec: As for `data.text.text_files.iter_sentences`.
        encoding_errors: As for `data.text.text_files.iter_sentences`.
        directory: An existing directory.
        max_characters: C, at least 3.
    """
    check_max_characters(max_characters)
    types = _TypeTable()
    counts = np.zeros(1 << 16, dtype=ARRAY_TYPES["type_counts"])
    num_tokens = num_sentences = 0
    started = reported = time.monotonic()

    with create_corpus(directory) as writer:
        for block in iter_sentence_blocks(spec, encoding_errors):
            lengths = np.fromiter(map(len, block), dtype=np.int64, count=len(block))
            words = chain.from_iterable(block)
            ids = np.fromiter(map(types.__getitem__, words), dtype=np.uint32, count=int(lengths.sum()))
            writer.write("tokens", ids)
            writer.write("offsets", num_tokens + np.cumsum(lengths))
            num_tokens += len(ids)
            num_sentences += len(block)

            if types.new_words:
                characters = encode_words(types.new_words, max_characters)
                writer.write_types(types.new_words, characters, word_lengths(characters))
                types.new_words.clear()
            if len(counts) < len(types):
                counts = np.append(counts, np.zeros(max(len(counts), len(types) - len(counts)), dtype=counts.dtype))
            np.add.at(counts, ids, 1)

            if time.monotonic() - reported > _SECONDS_BETWEEN_REPORTS:
                reported = time.monotonic()
                logger.info("encoded %s, %s distinct", count_in_words(num_tokens, "word"), f"{len(types):,}")
        writer.write("type_counts", counts[: len(types)])

    count_of_word = {word: count for word, count in zip(types, counts[: len(types)].tolist()) if count}
    logger.info(
        "encoded %s: %s, %s, %s distinct, in %.0f s; %s",
        *(
            spec,
            count_in_words(num_sentences, "sentence"),
            count_in_words(num_tokens, "word"),
            f"{len(count_of_word):,}",
        ),
        time.monotonic() - started,
        truncated_words(count_of_word, max_characters).describe(),
    )


def encode_to_temporary(
    spec: Union[str, "os.PathLike[str]"],
    encoding_errors: str = "strict",
    max_characters: int = DEFAULT_MAX_CHARACTERS,
) -> EncodedCorpus:
    """Return the text that `spec` names, encoded in a temporary directory, which is deleted with the returned corpus.

    The arguments, and the errors, are those of `encode_text`.
    """
    directory = Path(tempfile.mkdtemp(prefix="bilm-corpus-"))
    try:
        encode_text(spec, directory, encoding_errors, max_characters)
        corpus = EncodedCorpus(directory, max_characters)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    weakref.finalize(corpus, shutil.rmtree, directory, ignore_errors=True)
    return corpus
