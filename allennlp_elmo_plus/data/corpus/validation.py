"""Check that the files of an encoded corpus are complete and consistent.

A training memory-maps the files, and uses values of one as indices of another. A disk may have lost a part of them, and other users
may write to a cache directory.
"""

import os
import stat
from pathlib import Path
from typing import Optional

import numpy as np

from allennlp_elmo_plus.data.corpus.encoded_corpus import ARRAY_TYPES, WORDS_FILE
from allennlp_elmo_plus.data.text.characters import BOS_WORD, EOS_WORD, encode_words, word_lengths
from allennlp_elmo_plus.data.text.text_files import decode_lines, line_blocks
from allennlp_elmo_plus.errors import InputError

_BLOCK_LENGTH = 1 << 20


def validate(directory: Path, max_characters: int) -> Optional[str]:
    """Return the damage of the corpus in `directory` as a message, or None for a valid corpus.

    In a valid corpus all files are regular files, every index is in the range of its array, every word is spelled correctly, and the
    counts are those of the tokens. Every file is read once, in blocks.
    """
    sizes: dict[str, int] = {}
    for name in (*ARRAY_TYPES, WORDS_FILE):
        try:
            # A link can lead to any file, and reading a pipe can wait forever.
            status = os.lstat(directory / name)
        except OSError as error:
            return f"`{name}` cannot be read: {error.strerror}"
        if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
            return f"`{name}` must be a file that is not empty"
        sizes[name] = status.st_size
    row_sizes = {name: dtype.itemsize for name, dtype in ARRAY_TYPES.items()}
    row_sizes["type_characters"] *= max_characters
    for name, row_size in row_sizes.items():
        if sizes[name] % row_size:
            return f"`{name}` must hold whole rows of {row_size} bytes, got {sizes[name]:,}"
    arrays: dict[str, np.ndarray] = {
        name: np.memmap(directory / name, dtype, mode="r") for name, dtype in ARRAY_TYPES.items()
    }
    arrays["type_characters"] = arrays["type_characters"].reshape(-1, max_characters)
    return _damage_of_words(directory / WORDS_FILE, arrays, max_characters) or _damage_of_indices(arrays)


def _damage_of_words(path: Path, arrays: dict[str, np.ndarray], max_characters: int) -> Optional[str]:
    all_characters, all_lengths = arrays["type_characters"], arrays["type_lengths"]
    num_words = 0
    data = b""
    try:
        with open(path, "rb") as file:
            for data in line_blocks(file, WORDS_FILE):
                words = decode_lines(data, WORDS_FILE, num_words + 1)
                if num_words == 0 and words[:2] != [BOS_WORD, EOS_WORD]:
                    return f"`{WORDS_FILE}` must begin with {BOS_WORD} and {EOS_WORD}"
                characters, rows = encode_words(words, max_characters), slice(num_words, num_words + len(words))
                has_spelling = np.array_equal(characters, all_characters[rows])
                if not has_spelling or not np.array_equal(word_lengths(characters), all_lengths[rows]):
                    return f"`type_characters` and `type_lengths` must spell the words of `{WORDS_FILE}`"
                num_words += len(words)
    except InputError as error:
        return str(error)
    if num_words != len(all_characters) or num_words != len(all_lengths) or not data.endswith(b"\n"):
        return f"`{WORDS_FILE}` must hold a line for each of the {len(all_characters)} types, got {num_words}"
    return None


def _damage_of_indices(arrays: dict[str, np.ndarray]) -> Optional[str]:
    tokens, offsets, num_types = arrays["tokens"], arrays["offsets"], len(arrays["type_characters"])
    counts = np.zeros(num_types, dtype=np.int64)
    for start in range(0, len(tokens), _BLOCK_LENGTH):
        block = tokens[start : start + _BLOCK_LENGTH]
        if block.max() >= num_types:
            return f"`tokens` must be below the {num_types} types, got {block.max()}"
        counts += np.bincount(block, minlength=num_types)
    if not np.array_equal(counts, arrays["type_counts"]):
        return "`type_counts` must be how often each type is among `tokens`"
    if offsets[0] != 0 or offsets[-1] != len(tokens):
        return f"`offsets` must go from 0 to the {len(tokens)} tokens, got from {offsets[0]} to {offsets[-1]}"
    for start in range(0, len(offsets), _BLOCK_LENGTH):
        if (np.diff(offsets[start : start + _BLOCK_LENGTH + 1]) < 0).any():
            return "`offsets` must not fall"
    return None
