"""Vectors of the words of sentences, computed once and kept, for the models of tasks.

AllenNLP reads the constructors, so this file has no postponed annotations.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from allennlp.data import Token, TokenIndexer, Vocabulary

from allennlp_elmo_plus.storage.atomic_files import atomic_path

Sentence = tuple[str, ...]


class StoredVectorsIndexer(TokenIndexer):
    """Gives the words of a sentence their stored vectors in place of ids.

    Args:
        vectors: the vectors of each sentence, an array whose first axis is the words.
    """

    def __init__(self, vectors: Mapping[Sentence, np.ndarray]) -> None:
        super().__init__()
        self._vectors = vectors

    @classmethod
    def from_file(cls, path: str) -> "StoredVectorsIndexer":
        """Return the indexer of a file of `write_vectors`. In a config it has the type "stored_vectors"."""
        sentences = read_sentences(path)
        ends = np.cumsum([len(sentence) for sentence in sentences])
        return cls(dict(zip(sentences, np.split(np.load(path, mmap_mode="r"), ends[:-1]), strict=True)))

    def count_vocab_items(self, token: Token, counter: dict[str, dict[str, int]]) -> None:
        """Do nothing: vectors have no vocabulary."""

    def tokens_to_indices(self, tokens: list[Token], vocabulary: Vocabulary) -> dict[str, Any]:
        """Return the vectors of the sentence with the words `tokens`."""
        return {"vectors": self._vectors[tuple(token.text for token in tokens)]}

    def as_padded_tensor_dict(self, tokens: dict[str, Any], padding_lengths: dict[str, int]) -> dict[str, torch.Tensor]:
        """Return the vectors as a tensor, with zeros after the last word."""
        vectors = tokens["vectors"]
        padded = torch.zeros(padding_lengths["vectors"], *vectors.shape[1:])
        padded[: len(vectors)] = torch.from_numpy(vectors.astype(np.float32))
        return {"vectors": padded}


TokenIndexer.register("stored_vectors", constructor="from_file")(StoredVectorsIndexer)


def read_sentences(path: str | Path) -> list[Sentence]:
    """Return the sentences whose vectors are in the file `path` of `write_vectors`."""
    # Not splitlines: a word may have one of its other line ends, such as U+2028.
    lines = _sentences_file(path).read_text("utf-8").split("\n")[:-1]
    return [tuple(line.split(" ")) for line in lines]


def write_vectors(path: Path, sentences: Iterable[Sentence], vectors: Iterable[np.ndarray]) -> None:
    """Write the vectors of each sentence, (words, numbers), to the file `path` in 16 bits, and the sentences beside it."""
    sentences = list(sentences)
    _sentences_file(path).write_text("".join(" ".join(words) + "\n" for words in sentences), encoding="utf-8")
    with atomic_path(str(path)) as temporary, open(temporary, "wb") as file:
        np.save(file, np.concatenate([array.astype(np.float16) for array in vectors]))


def _sentences_file(path: str | Path) -> Path:
    return Path(path).with_suffix(".sentences")
