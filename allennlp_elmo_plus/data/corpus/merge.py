"""Merge the encoded corpora of shards into the corpus of their concatenated texts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from allennlp_elmo_plus.data.corpus.encoded_corpus import ARRAY_TYPES, EncodedCorpus, create_corpus

_CHUNK_LENGTH = 1 << 22


def merge_corpora(corpora: Sequence[EncodedCorpus], directory: Path) -> None:
    """Write to `directory`, byte for byte, the files that `encode_text` writes for the texts of `corpora`, concatenated in order.

    This is possible because types are numbered in the order of the text, in each shard and in the whole text. Memory grows with the
    number of types. All `corpora` must have the same number of characters per word.
    """
    types: dict[str, int] = {}
    counts = np.zeros(0, dtype=ARRAY_TYPES["type_counts"])
    num_tokens = 0
    with create_corpus(directory) as writer:
        for corpus in corpora:
            words = corpus.type_words()
            new_rows = [row for row, word in enumerate(words) if word not in types]
            types.update((words[row], type_id) for type_id, row in enumerate(new_rows, start=len(types)))
            writer.write_types(
                [words[row] for row in new_rows], corpus.type_characters[new_rows], corpus.type_lengths[new_rows]
            )
            merged_types = np.fromiter(map(types.__getitem__, words), dtype=ARRAY_TYPES["tokens"], count=len(words))
            for start in range(0, corpus.num_tokens, _CHUNK_LENGTH):
                writer.write("tokens", merged_types[corpus.tokens[start : start + _CHUNK_LENGTH]])
            for start in range(1, corpus.num_sentences + 1, _CHUNK_LENGTH):
                writer.write("offsets", num_tokens + corpus.offsets[start : start + _CHUNK_LENGTH])
            num_tokens += corpus.num_tokens
            counts = np.append(counts, np.zeros(len(new_rows), dtype=counts.dtype))
            counts[merged_types] += corpus.type_counts
        writer.write("type_counts", counts)
