"""The example grammar: its n-gram model compared with NLTK's, and the way from pairs to figures."""

from pathlib import Path

import numpy as np
import pytest
from nltk.lm import KneserNeyInterpolated
from nltk.util import everygrams, ngrams

from examples.grammar.__main__ import measure
from examples.grammar.kneser_ney import KneserNey
from examples.shared.figures import Figures
from tests.helpers.saved_bilm import VOCABULARY, saved
from tests.helpers.small_text import SENTENCES

WORDS = sorted({word for sentence in SENTENCES for word in sentence})


@pytest.mark.parametrize("order", [2, 3, 4])
def test_the_n_gram_model_gives_the_probabilities_of_nltk(order: int) -> None:
    def padded(sentence: list[str]) -> list[str]:
        return ["<s>"] * (order - 1) + [*sentence, "</s>"]

    nltk_model = KneserNeyInterpolated(order, discount=0.75)
    # The marks before a sentence are not predicted.
    grams = [everygrams(padded(sentence), max_len=order) for sentence in SENTENCES]
    nltk_model.fit([[gram for gram in part if gram[-1] != "<s>"] for part in grams], [*WORDS, "</s>"])
    numbers = {word: number for number, word in enumerate([*WORDS, "</s>"])}
    text = [[numbers[word] for word in (*sentence, "</s>")] for sentence in SENTENCES]
    model = KneserNey(text, len(numbers), order, discount=0.75)
    new = [SENTENCES[0][::-1], SENTENCES[1][:2] + SENTENCES[2][1:], WORDS[:5]]
    for sentence in [*SENTENCES[:3], *new]:
        expected = sum(np.log(nltk_model.score(gram[-1], gram[:-1])) for gram in ngrams(padded(sentence), order))
        (ours,) = model.log_probs([[numbers[word] for word in (*sentence, "</s>")]])
        assert ours == pytest.approx(expected, abs=1e-9)


def test_the_probabilities_of_all_words_sum_to_1() -> None:
    model = KneserNey([[0, 1, 2, 4], [0, 1, 3, 4], [1, 1, 3, 0, 4], [3, 2, 4]], 5, 3)
    for context in ([], [0], [0, 1], [4, 4], [2, 0]):
        before = model.log_probs([context])[0]
        total = sum(np.exp(model.log_probs([[*context, word]])[0] - before) for word in range(5))
        assert total == pytest.approx(1)


@pytest.mark.slow
def test_pairs_become_figures_once(tmp_path: Path) -> None:
    pairs, text = tmp_path / "pairs", tmp_path / "train.txt"
    pairs.mkdir()
    (pairs / "zorro_order.txt").write_text(
        "mill the turns\nthe mill turns\nriver the rises\nthe river rises\n", "utf-8"
    )
    (pairs / "zorro_agreement.txt").write_text("the mill turn\nthe mill turns\nthe mill and\nand the mill\n", "utf-8")
    # No pair has only words of the vocabulary.
    (pairs / "zorro_unknown.txt").write_text("the zebra turn\nthe zebra turns\n", "utf-8")
    # Every word of the vocabulary occurs.
    text.write_text(f"the mill turns\nthe river rises\n{' '.join(VOCABULARY[3:])}\nunheard\n", "utf-8")
    models = [tmp_path / seed / "model.tar.gz" for seed in ("seed1", "seed2")]
    for scale, model in zip((0.3, 0.5), models):
        model.parent.mkdir()
        saved(model.parent, scale=scale)
    figures = Figures(tmp_path / "figures.jsonl")
    measure(pairs, models, text, tmp_path / "work", figures)
    # Two parts of each phenomenon and of all pairs, and the time.
    assert len(figures.lines({"scorer": "biLM", "seed": "seed2"})) == len(figures.lines({"scorer": "5-gram"})) == 8
    key = {"scorer": "5-gram", "seed": "", "words": "known"}
    assert figures.lines(key) == [
        {**key, "phenomenon": "agreement", "pairs": 1, "forward": 0.0},
        {**key, "phenomenon": "order", "pairs": 2, "forward": 1.0},
        {**key, "phenomenon": "all", "pairs": 3, "forward": pytest.approx(2 / 3, abs=1e-5)},
    ]
    line = figures.lines({"scorer": "biLM", "seed": "seed1", "phenomenon": "agreement", "words": "all"})[0]
    assert line["pairs"] == 2 and all(0 <= line[score] <= 1 for score in ("forward", "backward", "both"))
    before = figures.lines({})
    measure(pairs, models, text, tmp_path / "work", figures)
    assert figures.lines({}) == before
