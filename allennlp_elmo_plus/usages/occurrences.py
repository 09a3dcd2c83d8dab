"""Find the occurrences of words in a text, and keep a random sample of them."""

import os
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from allennlp_elmo_plus.errors import InputError, check_at_least, check_utf8
from allennlp_elmo_plus.inference.neighbors import MAX_SENTENCE_WORDS, TokenInContext

ANY_ENDING = "*"


class Sample(NamedTuple):
    """The occurrences of one word in a text."""

    num_found: int
    tokens: list[TokenInContext]  # in the order of the text; a random sample where there are too many


class OccurrenceSampler:
    """Find the occurrences of `words` in a text that is read once. Each text needs a sampler of its own.

    Of each word a random sample is kept (reservoir sampling, Vitter 1985). The sample depends on the text, the word and `seed`, not
    on the other words.

    Args:
        words: the words; `run*` stands for all words that begin with "run".
        max_occurrences: the size of a sample, at least 1.
        seed: the seed of the random numbers.

    Attributes:
        num_skipped: the number of sentences that were skipped, because they have more than `MAX_SENTENCE_WORDS` words.

    Raises:
        InputError: `max_occurrences` is below 1.
    """

    def __init__(self, words: Sequence[str], max_occurrences: int, seed: int) -> None:
        check_at_least(1, max_occurrences=max_occurrences)
        self._max_occurrences = max_occurrences
        self._random = {word: random.Random(seed) for word in words}
        self._tokens: dict[str, list[TokenInContext]] = {word: [] for word in words}
        self._numbers: dict[str, list[int]] = {word: [] for word in words}
        self._num_found = dict.fromkeys(words, 0)
        self._beginnings = {word[:-1]: word for word in words if _has_any_ending(word)}
        self._lengths = sorted({len(beginning) for beginning in self._beginnings})
        self.num_skipped = 0

    def add_text(self, sentences: Iterable[Sequence[str]]) -> None:
        """Find the words in the next `sentences` of the text."""
        for sentence in sentences:
            if len(sentence) > MAX_SENTENCE_WORDS:
                self.num_skipped += 1
                continue
            for position, form in enumerate(sentence):
                for word in self._words_of(form):
                    self._add(word, TokenInContext(tuple(sentence), position))

    def samples(self) -> dict[str, Sample]:
        """Return the sample of each word."""
        result = {}
        for word, tokens in self._tokens.items():
            order = sorted(range(len(tokens)), key=self._numbers[word].__getitem__)
            result[word] = Sample(self._num_found[word], [tokens[index] for index in order])
        return result

    def _words_of(self, form: str) -> list[str]:
        exact = [form] if form in self._tokens and not _has_any_ending(form) else []
        beginnings = (form[:length] for length in self._lengths if length <= len(form))
        return exact + [self._beginnings[beginning] for beginning in beginnings if beginning in self._beginnings]

    def _add(self, word: str, token: TokenInContext) -> None:
        number = self._num_found[word]
        self._num_found[word] += 1
        tokens, numbers = self._tokens[word], self._numbers[word]
        if number < self._max_occurrences:
            tokens.append(token)
            numbers.append(number)
            return
        place = self._random[word].randrange(number + 1)
        if place < self._max_occurrences:
            tokens[place], numbers[place] = token, number


def read_target_words(argument: str) -> list[str]:
    """Return the distinct words of `argument`: words separated by commas, or the name of a file with one word per line.

    Raises:
        InputError: there is no word, a line holds several, or the file is not UTF-8.
    """
    words = argument.split(",")
    if os.path.isfile(argument):
        try:
            words = Path(argument).read_text("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise InputError(f"{argument}: must be UTF-8, one word per line") from None
    words = list(dict.fromkeys(filter(None, map(str.strip, words))))
    if not words:
        raise InputError(f"the words to compare must be at least one, got {argument!r}")
    for word in words:
        check_utf8(word)
        if len(word.split()) > 1:
            raise InputError(f"a word to compare must have no white space inside, got {word!r}")
    return words


def _has_any_ending(word: str) -> bool:
    return word.endswith(ANY_ENDING) and word != ANY_ENDING
