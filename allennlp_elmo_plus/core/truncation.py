"""Words that lose their end: the character encoding keeps a fixed number of bytes of each."""

from collections.abc import Mapping
from typing import NamedTuple

from .characters import DEFAULT_MAX_CHARACTERS, is_cut


class CutWords(NamedTuple):
    """Words of a text that are longer than C - 2 bytes of UTF-8."""

    num_words: int  # occurrences
    num_types: int  # distinct words
    share: float  # of all occurrences in the text
    examples: list[str]  # the most frequent ones, the first in order of code points where equal


def cut_words(
    counts: Mapping[str, int], max_characters: int = DEFAULT_MAX_CHARACTERS, num_examples: int = 3
) -> CutWords:
    """
    What `encode_words` cuts of a text whose words occur as often as `counts` says; `max_characters` is C, 50 in bilm-tf, which
    leaves 48 bytes. The model cannot tell apart two words that are the same up to there.
    """
    cut = [word for word in counts if is_cut(word, max_characters)]
    cut.sort(key=lambda word: (-counts[word], word))
    num_words = sum(counts[word] for word in cut)
    return CutWords(num_words, len(cut), num_words / max(1, sum(counts.values())), cut[:num_examples])
