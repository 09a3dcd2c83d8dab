"""Read and write a table of the token encoder's vectors: one row per word of the vocabulary, `<S>`, `</S>` and `<UNK>` included.

With the HDF5 file known words need not be encoded from their characters. It is that of bilm-tf's `dump_token_embeddings`, with the
dataset `embedding`, (V, D) float32. This package adds the words in the dataset `words`, which bilm-tf ignores.

The text file is that of word2vec, which gensim, fastText's tools, spaCy and AllenNLP's `embedding` read. This package writes it only.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Optional

import h5py
import numpy as np
import torch
from torch import Tensor

from allennlp_elmo_plus.data.text.characters import encode_words
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.model_files import PathLike
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.storage.atomic_files import atomic_path
from allennlp_elmo_plus.storage.checked_hdf5 import find_dataset, find_table, open_hdf5, read_finite
from allennlp_elmo_plus.storage.hdf5_strings import read_strings

EMBEDDING, WORDS = "embedding", "words"

_CHUNK_WORDS = 1024


class TokenEmbeddings(NamedTuple):
    """A table of vectors."""

    words: list[str]
    vectors: Tensor  # (V, D) float32, one row per word


def write_token_embeddings(
    path: PathLike, encoder: BiLMEncoder, words: Sequence[str], on_words: Callable[[int], object] = lambda _: None
) -> None:
    """Write the token encoder's vectors of `words` to `path`, atomically, as HDF5.

    Args:
        path: the HDF5 file to write.
        encoder: a biLM of character input.
        words: the words, one per row.
        on_words: called with the number of words of each chunk after it is written.

    Raises:
        InputError: the biLM has word input, and so is such a table already; or `path` cannot be written.
    """
    if encoder.max_characters is None:
        raise InputError("the biLM must have character input, got word input, whose vectors are a table already")
    with atomic_path(path) as temporary, h5py.File(str(temporary), "w") as file:
        rows = file.create_dataset(EMBEDDING, (len(words), encoder.token_encoder.output_size), dtype="<f4")
        names = file.create_dataset(WORDS, (len(words),), dtype=h5py.string_dtype())
        for first, part, vectors in _chunks(encoder, words):
            rows[first : first + len(part)] = vectors
            names[first : first + len(part)] = part
            on_words(len(part))


def write_word2vec(
    path: PathLike, encoder: BiLMEncoder, words: Sequence[str], on_words: Callable[[int], object] = lambda _: None
) -> None:
    """Write the token encoder's vectors of `words` to `path`, atomically, as text in the format of word2vec.

    The first line has the number of words and the width. Each other line has a word and its numbers, separated by one space. Every
    number is the shortest that a reader turns into the same float32.

    Args:
        path: the text file to write, in UTF-8.
        encoder: a biLM of character or word input.
        words: the words, one per line; for word input, the vocabulary in the order of its ids.
        on_words: called with the number of words of each chunk after it is written.

    Raises:
        InputError: `path` cannot be written.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.write(f"{len(words)} {encoder.token_encoder.output_size}\n")
        for _, part, vectors in _chunks(encoder, words):
            file.writelines(f"{word} {' '.join(map(str, row))}\n" for word, row in zip(part, vectors, strict=True))
            on_words(len(part))


@torch.no_grad()
def _chunks(encoder: BiLMEncoder, words: Sequence[str]) -> Iterator[tuple[int, list[str], np.ndarray]]:
    """Yield the index of a chunk's first word, the words of the chunk, and their vectors, (n, D) float32."""
    device = next(encoder.parameters()).device
    for first in range(0, len(words), _CHUNK_WORDS):
        part = list(words[first : first + _CHUNK_WORDS])
        if encoder.max_characters is None:
            ids = torch.arange(first, first + len(part))
        else:
            ids = torch.from_numpy(encode_words(part, encoder.max_characters))
        yield first, part, encoder.token_encoder(ids.to(device)).float().cpu().numpy()


def read_token_embeddings(path: PathLike, vocabulary: Optional[list[str]] = None) -> TokenEmbeddings:
    """Return the table in the file at `path`. The memory taken is never more than the size of the file.

    Args:
        path: the HDF5 file, which may come from an untrusted source.
        vocabulary: the words of the rows, for a file of bilm-tf, which does not hold them.

    Raises:
        InputError: the file is no such table, or the number of its words and rows differ; or a dataset, which is named, lies in
            another file, is compressed or stored in part, or holds numbers that are not finite.
    """
    with open_hdf5(path, "token embeddings") as file:
        table = find_table(file, EMBEDDING)
        if table is None:
            raise InputError(f"must hold a dataset `{EMBEDDING}` of numbers, one row per word")
        names = find_dataset(file, WORDS)
        words = None if names is None else read_strings(names)
        vectors = torch.from_numpy(read_finite(table).astype(np.float32, copy=False))
    if words is None:
        if vocabulary is None:
            raise InputError(f"{path}: does not hold the words of its rows; give the vocabulary from which it was made")
        words = vocabulary
    if len(words) != len(vectors):
        raise InputError(f"{path}: must have a row for each of the {len(words)} words, got {len(vectors)} rows")
    return TokenEmbeddings(words, vectors)
