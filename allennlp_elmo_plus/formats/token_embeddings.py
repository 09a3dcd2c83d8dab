"""The vectors of a vocabulary's words in a file, so that those who read it need not encode them from their characters.

The file is what bilm-tf's `dump_token_embeddings` writes: an HDF5 file with the dataset `embedding`, (V, D) float32, a row for
each word in the order of the vocabulary, `<S>`, `</S>` and `<UNK>` among them. Ours has the words as well, in the dataset
`words`, which bilm-tf does not look at.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Optional

import h5py
import numpy as np
import torch
from torch import Tensor

from allennlp_elmo_plus.data.text.characters import encode_words
from allennlp_elmo_plus.data.text.vocabulary import read_vocabulary
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.model_files import PathLike
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.storage.atomic_files import atomic_path
from allennlp_elmo_plus.storage.checked_hdf5 import (
    find_table,
    lookup,
    open_hdf5,
    read,
)
from allennlp_elmo_plus.storage.hdf5_strings import read_strings

EMBEDDING, WORDS = "embedding", "words"

_WORDS_AT_ONCE = 1024


class TokenEmbeddings(NamedTuple):
    words: list[str]
    vectors: Tensor  # (V, D)


@torch.no_grad()
def write_token_embeddings(
    path: PathLike, encoder: BiLMEncoder, words: Sequence[str], on_words: Callable[[int], object] = lambda _: None
) -> None:
    """Writes the vectors that `encoder` gives `words` to `path`, whole or not at all; `on_words` hears how many more are done.

    Raises InputError for a biLM of word input, which has such a table already, and where `path` cannot be written.
    """
    if encoder.max_characters is None:
        raise InputError("the biLM must read characters to have vectors of words to keep; this one takes word ids")
    device = next(encoder.parameters()).device
    with atomic_path(path) as temporary, h5py.File(str(temporary), "w") as file:
        rows = file.create_dataset(EMBEDDING, (len(words), encoder.token_encoder.output_size), dtype="<f4")
        names = file.create_dataset(WORDS, (len(words),), dtype=h5py.string_dtype())
        for first in range(0, len(words), _WORDS_AT_ONCE):
            part = list(words[first : first + _WORDS_AT_ONCE])
            characters = torch.from_numpy(encode_words(part, encoder.max_characters)).to(device)
            rows[first : first + len(part)] = encoder.token_encoder(characters).float().cpu().numpy()
            names[first : first + len(part)] = part
            on_words(len(part))


def read_token_embeddings(path: PathLike, vocab_file: Optional[PathLike] = None) -> TokenEmbeddings:
    """The table in the file at `path`. Its words are those in it; where it has none, as bilm-tf's, those of `vocab_file`.

    Raises InputError where the file is none, its words are not known, or there is not one for each row; and, naming the dataset,
    where one lies in another file, is not stored in full and as it is, or holds numbers that are not finite. What is read is no
    larger than the file.
    """
    with open_hdf5(path, "token embeddings") as file:
        table = find_table(file, EMBEDDING)
        if table is None:
            raise InputError(f"must hold a dataset `{EMBEDDING}` of numbers, one row a word")
        names = lookup(file, WORDS)
        words = None if names is None else read_strings(names)
        vectors = torch.from_numpy(read(table).astype(np.float32, copy=False))
    if words is None:
        if vocab_file is None:
            raise InputError(f"{path}: does not say which words its rows are; give the vocabulary of which it was made")
        words = read_vocabulary(vocab_file)
    if len(words) != len(vectors):
        raise InputError(f"{path}: must have a row for each of the {len(words)} words, got {len(vectors)} rows")
    return TokenEmbeddings(words, vectors)
