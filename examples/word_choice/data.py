"""Read the items of the lexical substitution task of SemEval-2007 (task 10, McCarthy and Navigli 2007)."""

import gzip
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

# The files are UTF-8 except for single bytes, which this encoding reads as some letter.
_ENCODING = "latin-1"


class Item(NamedTuple):
    """A word in a sentence, and the words of which some can stand in its place."""

    target: str  # "bright.a": the base form and the part of speech
    sentence: tuple[str, ...]
    position: int
    candidates: tuple[str, ...]  # all single words that annotators gave for any sentence of the target
    weights: tuple[float, ...]  # how many annotators gave each candidate for this sentence
    is_test: bool

    @property
    def part_of_speech(self) -> str:
        """Return "a" (adjective), "n" (noun), "r" (adverb) or "v" (verb)."""
        return self.target.split(".")[1]

    @property
    def word(self) -> str:
        """Return the target as it stands in the sentence."""
        return self.sentence[self.position]

    def with_candidate(self, candidate: str) -> tuple[str, ...]:
        """Return the sentence with `candidate` in the place of the target."""
        return (*self.sentence[: self.position], candidate, *self.sentence[self.position + 1 :])


def read_items(folder: Path) -> list[Item]:
    """Return the items of the task's trial and test parts.

    Candidates and answers of several words are left out, and then the items without an answer, as in Melamud et al. 2015. A word
    with a hyphen counts as several words.

    Args:
        folder: the folder with `lst_all.preprocessed.gz`, `lst_all.gold.gz`, `lst.gold.candidates.gz` and `lst_test.gold.gz`.
    """
    candidates = {
        target: tuple(sorted(set(filter(is_single_word, words.split(";")))))
        for target, words in _fields(folder / "lst.gold.candidates.gz")
    }
    answers = {item: _weights(words) for item, words in _fields(folder / "lst_all.gold.gz")}
    test_items = {item for item, _ in _fields(folder / "lst_test.gold.gz")}
    items = []
    for line in _lines(folder / "lst_all.preprocessed.gz"):
        target, number, position, sentence = line.split("\t")
        weights = answers.get(f"{target} {number}")
        if weights:
            # "bar.n.v" is an item of the noun whose answers fit a verb.
            words = candidates[".".join(target.split(".")[:2])]
            gold = tuple(weights.get(word, 0.0) for word in words)
            is_test = f"{target} {number}" in test_items
            items.append(Item(target, tuple(sentence.split()), int(position), words, gold, is_test))
    return items


def is_single_word(word: str) -> bool:
    """Return whether `word` is one word, without white space and hyphens."""
    return re.search(r"[\s-]", word) is None


def _weights(text: str) -> Mapping[str, float]:
    pairs = [answer.strip().rsplit(" ", 1) for answer in text.split(";") if answer.strip()]
    return {word: float(weight) for word, weight in pairs if is_single_word(word)}


def _fields(path: Path) -> Iterator[tuple[str, str]]:
    for line in _lines(path):
        name, _, rest = line.partition("::")
        yield name.strip(), rest.strip()


def _lines(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding=_ENCODING, newline="\n") as file:
        for line in file:
            yield line.rstrip("\n")
