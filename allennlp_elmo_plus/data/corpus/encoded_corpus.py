"""Text -> type ids on disk.

Each distinct word of a text is a type: `<S>` is 0, `</S>` is 1, the others are numbered as they come. The text is read
once and kept as one number a word, memory-mapped, beside a table that spells each type. Memory, while encoding and
after, grows with the number of types, not with the text.
"""

import hashlib
import logging
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Union

import numpy as np

from allennlp_elmo_plus.data.text.characters import (
    BOS_WORD,
    DEFAULT_MAX_CHARACTERS,
    EOS_WORD,
    UNK_WORD,
    check_max_characters,
    encode_words,
    word_lengths,
)
from allennlp_elmo_plus.data.text.text_files import iter_sentence_blocks
from allennlp_elmo_plus.data.text.truncation import truncated_words
from allennlp_elmo_plus.errors import InputError, count_in_words

logger = logging.getLogger(__name__)

# Type ids of the sentence boundaries in every corpus.
_HASHED_AT_ONCE = 1 << 20

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
    """A text of at least one word, by type ids, as `encode_text` wrote it to `directory`.

    `tokens` (num_tokens,) uint32: the type of each word; sentence boundaries are not among them.
    `offsets` (num_sentences + 1,) int64: where each sentence starts in `tokens`.
    `type_characters` (num_types, C) int16: how each type is spelled, see `data/text/characters.py`.
    `type_lengths` (num_types,) int32: positions of `type_characters` before the padding.
    `type_counts` (num_types,) int64: how often each type occurs in `tokens`.
    """

    def __init__(self, directory: Path, max_characters: int) -> None:
        self.directory = directory
        arrays: dict[str, np.ndarray] = {
            # As plain arrays: the subclass for maps makes each small slice several times slower.
            name: np.asarray(np.memmap(directory / name, dtype, mode="r"))
            for name, dtype in ARRAY_TYPES.items()
        }
        self.tokens = arrays["tokens"]
        self.offsets = arrays["offsets"]
        self.type_characters = arrays["type_characters"].reshape(-1, max_characters)
        self.type_lengths = arrays["type_lengths"]
        self.type_counts = arrays["type_counts"]

    @property
    def num_tokens(self) -> int:
        """Words of the text."""
        return len(self.tokens)

    @property
    def num_sentences(self) -> int:
        """Lines of the text, blank ones included."""
        return len(self.offsets) - 1

    @property
    def num_types(self) -> int:
        """Distinct words of the text, and `<S>` and `</S>`."""
        return len(self.type_characters)

    def digest(self) -> str:
        """A hash of all words in their order, and of where sentences end; read from disk at each call."""
        digest = hashlib.blake2b(digest_size=16)
        for name in ("tokens", "offsets", WORDS_FILE):
            with open(self.directory / name, "rb") as file:
                while data := file.read(_HASHED_AT_ONCE):
                    digest.update(data)
        return digest.hexdigest()

    def type_words(self) -> list[str]:
        """The word of each type, read from disk at each call."""
        return (self.directory / WORDS_FILE).read_bytes().decode("utf-8").split("\n")[:-1]

    def vocabulary_ids(self, vocabulary: Mapping[str, int]) -> np.ndarray:
        """The id that `vocabulary` gives each type, the id of `<UNK>` where it gives none: (num_types,) int64.

        Raises `InputError` when `vocabulary` lacks `<S>`, `</S>` or `<UNK>`.
        """
        missing = [word for word in (BOS_WORD, EOS_WORD, UNK_WORD) if word not in vocabulary]
        if missing:
            raise InputError(f"the vocabulary must hold <S>, </S> and <UNK>, but lacks {', '.join(missing)}")
        unknown = vocabulary[UNK_WORD]
        ids = (vocabulary.get(word, unknown) for word in self.type_words())
        return np.fromiter(ids, dtype=np.int64, count=self.num_types)


class _TypeTable(dict[str, int]):
    """Word -> type id; a new word gets the next id as it is looked up, and waits in `new_words`."""

    def __init__(self) -> None:
        super().__init__({BOS_WORD: BOS_TYPE, EOS_WORD: EOS_TYPE})
        self.new_words = [BOS_WORD, EOS_WORD]

    def __missing__(self, word: str) -> int:
        number = len(self)
        self[word] = number
        self.new_words.append(word)
        return number


def encode_text(
    spec: Union[str, "os.PathLike[str]"],
    directory: Path,
    encoding_errors: str = "strict",
    max_characters: int = DEFAULT_MAX_CHARACTERS,
) -> None:
    """Writes the text that `spec` names to `directory`, for `EncodedCorpus`. Logs how far it is, and in the end the share
    of words that are cut for being longer than `max_characters` - 2 bytes, see `data/text/truncation.py`.

    Raises what `data/text/text_files.py` raises of a spec or a text, and `ValueError` for a `max_characters` below 3.
    """
    check_max_characters(max_characters)
    types = _TypeTable()
    counts = np.zeros(1 << 16, dtype=ARRAY_TYPES["type_counts"])
    num_tokens = num_sentences = 0
    started = reported = time.monotonic()

    with ExitStack() as stack:
        files = {name: stack.enter_context(open(directory / name, "wb")) for name in (*ARRAY_TYPES, WORDS_FILE)}

        def write(name: str, values: np.ndarray) -> None:
            files[name].write(np.ascontiguousarray(values, dtype=ARRAY_TYPES[name]).data)

        write("offsets", np.zeros(1))
        for block in iter_sentence_blocks(spec, encoding_errors):
            lengths = np.fromiter(map(len, block), dtype=np.int64, count=len(block))
            words = chain.from_iterable(block)
            ids = np.fromiter(map(types.__getitem__, words), dtype=np.uint32, count=int(lengths.sum()))
            write("tokens", ids)
            write("offsets", num_tokens + np.cumsum(lengths))
            num_tokens += len(ids)
            num_sentences += len(block)

            if types.new_words:
                characters = encode_words(types.new_words, max_characters)
                write("type_characters", characters)
                write("type_lengths", word_lengths(characters))
                files[WORDS_FILE].write(("\n".join(types.new_words) + "\n").encode("utf-8"))
                types.new_words.clear()
            if len(counts) < len(types):
                counts = np.append(counts, np.zeros(max(len(counts), len(types) - len(counts)), dtype=counts.dtype))
            np.add.at(counts, ids, 1)

            if time.monotonic() - reported > _SECONDS_BETWEEN_REPORTS:
                reported = time.monotonic()
                logger.info("encoded %s, %d distinct", count_in_words(num_tokens, "word"), len(types))
        write("type_counts", counts[: len(types)])

    found = {word: count for word, count in zip(types, counts[: len(types)].tolist()) if count}
    logger.info(
        "encoded %s: %s, %s, %d distinct, in %.0f s; %s",
        *(spec, count_in_words(num_sentences, "sentence"), count_in_words(num_tokens, "word"), len(found)),
        time.monotonic() - started,
        truncated_words(found, max_characters).describe(),
    )


def encode_to_temporary(
    spec: Union[str, "os.PathLike[str]"],
    encoding_errors: str = "strict",
    max_characters: int = DEFAULT_MAX_CHARACTERS,
) -> EncodedCorpus:
    """The text that `spec` names, encoded to a temporary directory that goes when the corpus does, at the latest with the
    process.

    Raises what `encode_text` raises.
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
