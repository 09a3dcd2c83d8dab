"""The example that ranks substitutes: its score, its data, its rankings."""

import gzip
from fractions import Fraction
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from examples.word_choice.data import Item, is_single_word, read_items
from examples.word_choice.gap import generalized_average_precision, score_ranking


def brute_force(weights: tuple[int, ...]) -> Fraction:
    """Return the score as Kishida 2005 writes it: sums of sums, and the best ranking found by trying all."""

    def numerator(ranking: tuple[int, ...]) -> Fraction:
        return sum(
            (Fraction(sum(ranking[: rank + 1]), rank + 1) for rank, weight in enumerate(ranking) if weight > 0),
            Fraction(0),
        )

    return numerator(weights) / max(map(numerator, permutations(weights)))


@pytest.mark.parametrize("weights", [(1,), (0, 1), (3, 0, 1), (1, 2, 0, 0), (0, 0, 5), (2, 2, 1), (4, 0, 3, 0, 1)])
def test_the_score_is_that_of_kishida_in_every_order(weights: tuple[int, ...]) -> None:
    for ranking in set(permutations(weights)):
        assert generalized_average_precision(ranking) == pytest.approx(float(brute_force(ranking)))


def test_the_score_of_a_ranking_worked_out_by_hand() -> None:
    # 0 / 1 is not counted; then (0 + 3) / 2 and (0 + 3 + 0 + 1) / 4; the best is 3 / 1 and (3 + 1) / 2.
    assert generalized_average_precision([0, 3, 0, 1]) == (1.5 + 1) / (3 + 2)
    # The scores rank the third word first, and keep the order of the two that are equal.
    assert score_ranking(np.array([0.5, 0.5, 2.0]), [0, 3, 1]) == pytest.approx(((1 / 1) + (4 / 3)) / (3 + 2))
    assert score_ranking(np.array([0.5, -np.inf, 2.0]), [2, 0, 1]) == pytest.approx((1 + 1.5) / (2 + 1.5))


def write_gzip(path: Path, text: str) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the files of the task: two items for training, one of which has no single word, and one for testing."""
    sentences = [
        "mill.n\t1\t1\tthe mill turns .",
        "mill.n\t2\t2\tthis old mill sleeps",
        "turn.v.n\t3\t2\tthe mills turn slowly",
        "turn.v\t4\t0\tturn !",
    ]
    write_gzip(tmp_path / "lst_all.preprocessed.gz", "".join(f"{line}\n" for line in sentences))
    gold = [
        "mill.n 1 :: factory 3;grinding house 2;works 1;",
        "mill.n 2 :: wind-mill 1;",
        "turn.v.n 3 :: spin 2;",
    ]
    write_gzip(tmp_path / "lst_all.gold.gz", "".join(f"{line}\n" for line in gold))
    write_gzip(tmp_path / "lst_test.gold.gz", f"{gold[2]}\n")
    candidates = "mill.n::works;grinding house;factory;wind-mill;plant\nturn.v::spin;rotate;go round\n"
    write_gzip(tmp_path / "lst.gold.candidates.gz", candidates)
    return tmp_path


def test_items_have_single_words_only(folder: Path) -> None:
    assert read_items(folder) == [
        Item("mill.n", ("the", "mill", "turns", "."), 1, ("factory", "plant", "works"), (3.0, 0.0, 1.0), False),
        Item("turn.v.n", ("the", "mills", "turn", "slowly"), 2, ("rotate", "spin"), (0.0, 2.0), True),
    ]
    item = read_items(folder)[1]
    assert (item.part_of_speech, item.word) == ("v", "turn")
    assert item.with_candidate("spin") == ("the", "mills", "spin", "slowly")
    assert [is_single_word(word) for word in ("spin", "go round", "well-lit")] == [True, False, False]
