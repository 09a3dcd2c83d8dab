"""Encoded corpora of shards -> that of all of them, as if their texts had been read one after the other."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from allennlp_elmo_plus.data.corpus.encoded_corpus import ARRAY_TYPES, WORDS_FILE, EncodedCorpus

_NUMBERS_AT_ONCE = 1 << 22


def merge_corpora(corpora: Sequence[EncodedCorpus], directory: Path) -> None:
    """Writes to `directory`, for `EncodedCorpus`, what `encode_text` writes of the texts of `corpora` in their order, byte for byte:
    types are numbered as they come, and each shard lists its own in the order in which it met them.

    Memory grows with the number of types. `corpora` have the same number of characters a word.
    """
    types: dict[str, int] = {}
    counts = np.zeros(0, dtype=ARRAY_TYPES["type_counts"])
    num_tokens = 0
    with ExitStack() as stack:
        files = {name: stack.enter_context(open(directory / name, "wb")) for name in (*ARRAY_TYPES, WORDS_FILE)}

        def write(name: str, values: np.ndarray) -> None:
            files[name].write(np.ascontiguousarray(values, dtype=ARRAY_TYPES[name]).data)

        write("offsets", np.zeros(1))
        for corpus in corpora:
            words = corpus.type_words()
            new = [number for number, word in enumerate(words) if word not in types]
            types.update((words[number], place) for place, number in enumerate(new, start=len(types)))
            write("type_characters", corpus.type_characters[new])
            write("type_lengths", corpus.type_lengths[new])
            files[WORDS_FILE].write("".join(f"{words[number]}\n" for number in new).encode("utf-8"))
            type_here = np.fromiter(map(types.__getitem__, words), dtype=ARRAY_TYPES["tokens"], count=len(words))
            for start in range(0, corpus.num_tokens, _NUMBERS_AT_ONCE):
                write("tokens", type_here[corpus.tokens[start : start + _NUMBERS_AT_ONCE]])
            for start in range(1, corpus.num_sentences + 1, _NUMBERS_AT_ONCE):
                write("offsets", num_tokens + corpus.offsets[start : start + _NUMBERS_AT_ONCE])
            num_tokens += corpus.num_tokens
            counts = np.append(counts, np.zeros(len(new), dtype=counts.dtype))
            counts[type_here] += corpus.type_counts
        write("type_counts", counts)
