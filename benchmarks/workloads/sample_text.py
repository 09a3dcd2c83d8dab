"""
Text for benchmarks: sentences of words whose frequencies follow Zipf's law, the same on every machine.

Words consist of syllables; frequent words are short. A share of the tokens is numbers that occur once, so that the number of distinct words
grows with the text, as in real text. The other words repeat every million tokens.
"""

from pathlib import Path

import numpy as np

NUM_WORDS = 50_000
NUMBER_SHARE = 0.01
_BLOCK_TOKENS = 1_000_000
_SYLLABLES = [consonant + vowel for consonant in "bdfghjklmnprstvz" for vowel in "aeiou"]
# Zipf-Mandelbrot: flattens the distribution for the most frequent words.
_RANK_SHIFT = 2.7
_SENTENCE_WORDS = (4, 40)


def spell(rank: int) -> str:
    """Return the word of frequency rank `rank`, counted from 0; each rank has its own word."""
    word, rest = "", rank + 1
    while rest:
        rest, syllable = divmod(rest - 1, len(_SYLLABLES))
        word += _SYLLABLES[syllable]
    return word


def write_text(path: Path, num_tokens: int, num_words: int = NUM_WORDS, seed: int = 0) -> int:
    """
    Write at most `num_tokens` tokens to `path`, one sentence per line with a full stop as its last word, and return their number.

    More than a million tokens are rounded down to full blocks of a million.
    """
    block_tokens = min(num_tokens, _BLOCK_TOKENS)
    template = _template(block_tokens, num_words, np.random.default_rng(seed))
    numbers_per_block = template.count("%d")
    num_blocks = num_tokens // block_tokens
    with open(path, "w", encoding="ascii", newline="\n") as file:
        for block in range(num_blocks):
            first = 1000 + block * numbers_per_block
            file.write(template % tuple(range(first, first + numbers_per_block)))
    return num_blocks * block_tokens


def read_sentences(path: Path, num_tokens: int) -> list[list[str]]:
    """Return the words of each line, up to the line that reaches `num_tokens` words, without blank lines."""
    sentences, num_words = [], 0
    with open(path, encoding="utf-8") as file:
        for line in file:
            words = line.split()
            if words:
                sentences.append(words)
                num_words += len(words)
            if num_words >= num_tokens:
                break
    return sentences


def _template(num_tokens: int, num_words: int, rng: np.random.Generator) -> str:
    """Return lines with `num_tokens` tokens in total and "%d" in place of numbers."""
    cumulative = np.cumsum(1 / (np.arange(num_words) + _RANK_SHIFT))
    ranks = np.searchsorted(cumulative, rng.random(num_tokens) * cumulative[-1])
    words = np.array([spell(rank) for rank in range(num_words)], dtype=object)[ranks]
    words[rng.random(num_tokens) < NUMBER_SHARE] = "%d"
    lengths = rng.integers(*_SENTENCE_WORDS, size=num_tokens // _SENTENCE_WORDS[0] + 1)
    ends = np.minimum(np.cumsum(lengths), num_tokens)
    ends = ends[: int(np.searchsorted(ends, num_tokens)) + 1]
    words[ends - 1] = "."
    starts = [0, *ends[:-1].tolist()]
    return "".join(" ".join(words[start:end]) + "\n" for start, end in zip(starts, ends.tolist(), strict=True))
