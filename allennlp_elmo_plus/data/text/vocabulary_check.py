"""Compare a vocabulary with a text: the words it covers, and whether it has the order that the sampler of the softmax assumes."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional

import numpy as np

from allennlp_elmo_plus.data.text.characters import UNK_WORD
from allennlp_elmo_plus.data.text.vocabulary import SPECIAL_WORDS


class Coverage(NamedTuple):
    """The words of a text, and those of them that are in the vocabulary; the other words are `<UNK>` as targets."""

    num_words: int
    num_known_words: int
    num_types: int
    num_known_types: int


def coverage(vocabulary: Sequence[str], counts: Mapping[str, int]) -> Coverage:
    """Return how much of a text `vocabulary` covers. `counts` has the occurrences of each word; `<UNK>` is not covered."""
    known_words = set(vocabulary) - {UNK_WORD}
    known_counts = [count for word, count in counts.items() if word in known_words]
    return Coverage(sum(counts.values()), sum(known_counts), len(counts), len(known_counts))


def misplaced_special_words(vocabulary: Sequence[str]) -> list[str]:
    """Return one message for each of `<S>`, `</S>` and `<UNK>` that is not on the first three lines of the vocabulary.

    bilm-tf requires these words there, and the log-uniform sampler takes the first words to be the most frequent.
    """
    lines = {word: vocabulary.index(word) + 1 for word in SPECIAL_WORDS if word in vocabulary}
    return [
        f"{word} is on line {line:,}, must be on one of the first {len(SPECIAL_WORDS)}"
        for word, line in lines.items()
        if line > len(SPECIAL_WORDS)
    ]


class OrderFaults(NamedTuple):
    """Words that occur more often than the word before them, without special words, repeated words and empty lines."""

    num_faults: int
    first_line: int  # counted from 1
    first_word: str
    worst_word: str  # the word that is farthest below its line in the order of frequency
    worst_line: int
    worst_rank: int  # its line in the order of frequency


def order_faults(vocabulary: Sequence[str], counts: Mapping[str, int]) -> Optional[OrderFaults]:
    """Return where `vocabulary` is not in the order of falling `counts`, or None where it is; equal counts may have any order.

    The log-uniform sampler draws negatives by line number, and the correction of the sampled softmax assumes that the line number of a
    word tells its frequency. With another order training works, but learns less from each batch.
    """
    first_lines: dict[str, int] = {}
    for line, word in enumerate(vocabulary, start=1):
        first_lines.setdefault(word, line)
    lines = [line for word, line in first_lines.items() if word.strip() and word not in SPECIAL_WORDS]
    frequencies = np.array([counts.get(vocabulary[line - 1], 0) for line in lines], dtype=np.int64)
    faults = np.flatnonzero(np.diff(frequencies) > 0) + 1
    if not len(faults):
        return None
    # The first index that a word of this count can have.
    ranks = np.searchsorted(np.sort(-frequencies), -frequencies)
    worst = int(np.argmax(np.arange(len(frequencies)) - ranks))
    return OrderFaults(
        len(faults),
        lines[int(faults[0])],
        vocabulary[lines[int(faults[0])] - 1],
        vocabulary[lines[worst] - 1],
        lines[worst],
        lines[int(ranks[worst])],
    )
