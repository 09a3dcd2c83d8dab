"""Count the words that the character encoding truncates, because it has a fixed number of bytes per word."""

from collections.abc import Mapping
from typing import NamedTuple

from allennlp_elmo_plus.data.text.characters import DEFAULT_MAX_CHARACTERS, is_truncated

_SHOWN_CHARACTERS = 24


class TruncatedWords(NamedTuple):
    """Words of a text that are longer than C - 2 bytes of UTF-8."""

    max_bytes: int  # C - 2
    num_words: int  # occurrences
    num_types: int  # distinct words
    share: float  # of all occurrences in the text
    type_share: float  # of all distinct words
    examples: list[str]  # the most frequent words; words of equal frequency by code point

    def describe(self) -> str:
        """Return the counts and examples as a clause of an English sentence."""
        if not self.num_words:
            return f"no word is longer than {self.max_bytes} bytes"
        examples = ", ".join(
            word if len(word) <= _SHOWN_CHARACTERS else word[:_SHOWN_CHARACTERS] + "..." for word in self.examples
        )
        return (
            f"{self.share:.3%} of words ({self.num_words:,}) and {self.type_share:.3%} of distinct words "
            f"({self.num_types:,}) are longer than {self.max_bytes} bytes, and truncated, such as {examples}"
        )


def truncated_words(
    counts: Mapping[str, int], max_characters: int = DEFAULT_MAX_CHARACTERS, num_examples: int = 3
) -> TruncatedWords:
    """Return the words that `encode_words` truncates, of a text with `counts` occurrences of each word.

    `max_characters` is C; 50 in bilm-tf, which leaves 48 bytes. The model cannot distinguish words that differ only after them.
    """
    truncated = [word for word in counts if is_truncated(word, max_characters)]
    truncated.sort(key=lambda word: (-counts[word], word))
    num_words = sum(counts[word] for word in truncated)
    return TruncatedWords(
        max_characters - 2,
        num_words,
        len(truncated),
        num_words / max(1, sum(counts.values())),
        len(truncated) / max(1, len(counts)),
        truncated[:num_examples],
    )
