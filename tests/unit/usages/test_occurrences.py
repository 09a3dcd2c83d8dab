"""Samples of the occurrences of words, and the words that a user names."""

from pathlib import Path

import pytest

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.inference.neighbors import MAX_SENTENCE_WORDS, TokenInContext
from allennlp_elmo_plus.usages.occurrences import OccurrenceSampler, Sample, read_target_words

SENTENCES = ["the mill by the mills".split(), [], "milling the corn".split(), "the * mill*".split()]


def sample(words: list[str], sentences: list[list[str]], max_occurrences: int = 10, seed: int = 1) -> dict[str, Sample]:
    sampler = OccurrenceSampler(words, max_occurrences, seed)
    sampler.add_text(sentences[:1])
    sampler.add_text(sentences[1:])
    return sampler.samples()


def test_every_occurrence_is_found_in_the_order_of_the_text() -> None:
    samples = sample(["the", "mill", "mill*", "mi*", "*", "rain"], SENTENCES)
    tokens = {word: [(token.word, token.position) for token in sample.tokens] for word, sample in samples.items()}
    beginnings = [("mill", 1), ("mills", 4), ("milling", 0), ("mill*", 2)]
    assert tokens == {
        "the": [("the", 0), ("the", 3), ("the", 1), ("the", 0)],
        "mill": [("mill", 1)],
        "mill*": beginnings,
        "mi*": beginnings,
        "*": [("*", 1)],
        "rain": [],
    }
    assert [sample.num_found for sample in samples.values()] == [4, 1, 4, 4, 1, 0]
    assert samples["mill"].tokens == [TokenInContext(tuple(SENTENCES[0]), 1)]


def test_a_sample_depends_on_the_seed_and_not_on_other_words() -> None:
    sentences = [[str(number), "mill", "wind"] for number in range(200)]
    of_two = sample(["wind", "mill"], sentences, 20)["mill"]
    assert of_two == sample(["mill"], sentences, 20)["mill"] != sample(["mill"], sentences, 20, seed=2)["mill"]
    numbers = [int(token.sentence[0]) for token in of_two.tokens]
    assert of_two.num_found == 200 and len(set(numbers)) == 20 and numbers == sorted(numbers)


def test_all_occurrences_are_equally_likely() -> None:
    sentences = [[str(number), "mill"] for number in range(10)]
    drawn = [token.sentence[0] for seed in range(600) for token in sample(["mill"], sentences, 3, seed)["mill"].tokens]
    counts = [drawn.count(str(number)) for number in range(10)]
    # 600 * 3 / 10 each; the standard deviation is 11.
    assert sum(counts) == 1800 and max(abs(count - 180) for count in counts) < 50


def test_long_sentences_are_skipped_and_counted() -> None:
    sampler = OccurrenceSampler(["mill"], 5, 1)
    sampler.add_text([["mill"] * MAX_SENTENCE_WORDS, ["mill"] * (MAX_SENTENCE_WORDS + 1)])
    assert (sampler.samples()["mill"].num_found, sampler.num_skipped) == (MAX_SENTENCE_WORDS, 1)
    with pytest.raises(InputError, match="^`max_occurrences` must be at least 1, got 0$"):
        OccurrenceSampler(["mill"], 0, 1)


def test_words_are_separated_by_commas_or_lines(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("\ufeffmill\n\n 나비 \na,b\nmill\n", "utf-8")
    assert read_target_words(str(path)) == ["mill", "나비", "a,b"]
    assert read_target_words("mill, run*,,mill") == ["mill", "run*"]
    with pytest.raises(InputError, match="^the words to compare must be at least one, got ','$"):
        read_target_words(",")
    with pytest.raises(InputError, match="^a word to compare must have no white space inside, got 'water mill'$"):
        read_target_words("a,water mill")
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match="words.txt: must be UTF-8, one word per line$"):
        read_target_words(str(path))
