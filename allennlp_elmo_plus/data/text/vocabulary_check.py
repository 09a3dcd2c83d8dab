"""How well a vocabulary fits a text: the words it covers, and whether its order is what the softmax's sampler assumes."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional

import numpy as np

from allennlp_elmo_plus.data.text.characters import UNK_WORD
from allennlp_elmo_plus.data.text.vocabulary import SPECIAL_WORDS


class Coverage(NamedTuple):
    """Words of a text, and those of them that have an entry of their own; the others are `<UNK>` as targets."""

    num_words: int
    num_known_words: int
    num_types: int
    num_known_types: int


def coverage(vocabulary: Sequence[str], counts: Mapping[str, int]) -> Coverage:
    """How much of a text, by how often each of its words occurs, `vocabulary` covers. `<UNK>` in the text is not covered."""
    entries = set(vocabulary) - {UNK_WORD}
    known = [count for word, count in counts.items() if word in entries]
    return Coverage(sum(counts.values()), sum(known), len(counts), len(known))


def misplaced_special_words(vocabulary: Sequence[str]) -> list[str]:
    """A line of text for each of `<S>`, `</S>` and `<UNK>` that is in the vocabulary, but not on its first three lines: the
    log-uniform sampler takes the first words for the most frequent ones, and bilm-tf asks for them there.
    """
    lines = {word: vocabulary.index(word) + 1 for word in SPECIAL_WORDS if word in vocabulary}
    return [
        f"{word} is on line {line:,}, must be on one of the first {len(SPECIAL_WORDS)}"
        for word, line in lines.items()
        if line > len(SPECIAL_WORDS)
    ]


class OrderFaults(NamedTuple):
    """Words that occur more often than the one before them; special words, repeated ones and empty lines are left out."""

    num_faults: int
    first_line: int  # counted from 1
    first_word: str
    worst_word: str  # the one that stands farthest below its rank by frequency
    worst_line: int
    worst_rank: int  # the line it would be on


def order_faults(vocabulary: Sequence[str], counts: Mapping[str, int]) -> Optional[OrderFaults]:
    """Where `vocabulary` is not in the order of falling `counts`, equal counts in any order; None where it is.

    The log-uniform sampler draws negatives by their line alone, and the correction of the sampled softmax assumes that a word's
    line tells its frequency: in another order training goes on, and learns less from each batch.
    """
    first_lines: dict[str, int] = {}
    for line, word in enumerate(vocabulary, start=1):
        first_lines.setdefault(word, line)
    lines = [line for word, line in first_lines.items() if word.strip() and word not in SPECIAL_WORDS]
    frequencies = np.array([counts.get(vocabulary[line - 1], 0) for line in lines], dtype=np.int64)
    faults = np.flatnonzero(np.diff(frequencies) > 0) + 1
    if not len(faults):
        return None
    # The first of the places that words of this count may have.
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
