"""The example that ranks substitutes: its score, its data, its rankings."""

import gzip
from fractions import Fraction
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cosine

from allennlp_elmo_plus.data.batching.sentences import sentence_ids
from allennlp_elmo_plus.formats.pretrained import load_language_model
from allennlp_elmo_plus.inference.predictions import encoder_of, predictions
from allennlp_elmo_plus.inference.scoring.word_log_probs import WordLogProbs, WordScorer
from examples.shared.figures import Figures
from examples.word_choice import __main__ as word_choice
from examples.word_choice.bilm import CandidateModel, Evidence
from examples.word_choice.combine import COMBINATIONS, combine
from examples.word_choice.data import Item, is_single_word, read_items
from examples.word_choice.gap import generalized_average_precision, score_ranking
from examples.word_choice.rankings import CHOSEN, SCORERS
from tests.helpers.saved_bilm import saved


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


def test_cosines_are_combined_as_melamud_does() -> None:
    target, contexts = np.array([0.5, -0.2]), np.array([[0.1, 0.4], [0.3, -0.6], [0.0, 1.0]])
    for way, weight in (("add", 1), ("balanced add", 3)):
        expected = (weight * target + contexts.sum(0)) / (weight + 3)
        np.testing.assert_allclose(combine(target, contexts, way), expected)
    for way, weight in (("mult", 1), ("balanced mult", 3)):
        product = ((target + 1) / 2) ** weight * ((contexts + 1) / 2).prod(0)
        np.testing.assert_allclose(np.exp(combine(target, contexts, way)), product ** (1 / (weight + 3)))
    np.testing.assert_array_equal(combine(target, contexts[:0], "balanced add"), target)


@pytest.mark.slow
def test_the_evidence_is_that_of_the_bilm(tmp_path: Path) -> None:
    embedder = saved(tmp_path)
    archive = str(tmp_path / "model.tar.gz")
    items = [
        Item("mill.n", ("the", "mill", "turns", "."), 1, ("river", "unknown"), (1.0, 0.0), False),
        Item("rise.v", ("the", "mill", "and", "the", "river", "rises"), 5, ("turns", "rises", "and"), (1, 0, 2), True),
    ]
    model = CandidateModel(archive)
    assert model.is_known("river") and not model.is_known("unknown")
    pretrained = load_language_model(archive)
    language_model, options, vocabulary = pretrained
    scorer = WordScorer(pretrained)
    word_ids = {word: number for number, word in enumerate(vocabulary)}
    for item, evidence in zip(items, model.evidence(items), strict=True):
        vectors = embedder.embed_sentence(item.sentence)[:, item.position]

        def log_probs(word: str, item: Item = item) -> WordLogProbs:
            return next(scorer.log_probs([item.with_candidate(word)]))

        at_target = [(log_probs(word)[0][item.position], log_probs(word)[1][item.position + 1]) for word in vocabulary]
        lowest = np.array(at_target).min(0)
        ids = sentence_ids([item.sentence], options.char_cnn.max_characters)
        states = predictions(encoder_of(language_model, vocabulary, 50), ids, [len(item.sentence)])
        contexts = states.forward[item.position], states.backward[item.position + 1]
        near = [[1 - cosine(context, row) for row in language_model.softmax.weight.detach()] for context in contexts]
        for number, word in enumerate(item.candidates):
            forward, backward = log_probs(word)
            own = np.array([forward[item.position], backward[item.position + 1]]) if word in word_ids else lowest
            # The words that are predicted from the candidate.
            others = (forward[item.position + 1 :].sum() + backward[: item.position + 1].sum()).item()
            assert [evidence.forward[number], evidence.backward[number]] == pytest.approx(own.tolist(), abs=1e-4)
            assert evidence.sentence[number] == pytest.approx(others + own.sum(), abs=1e-4)
            row = word_ids.get(word)
            expected = [min(values) if row is None else values[row] for values in near]
            assert [evidence.forward_cosine[number], evidence.backward_cosine[number]] == pytest.approx(
                expected, abs=1e-5
            )
            candidate = embedder.embed_sentence(item.with_candidate(word))[:, item.position]
            expected = [1 - cosine(*pair) for pair in zip(vectors, candidate)]
            assert evidence.layers[:, number].tolist() == pytest.approx(expected, abs=1e-5)


def test_the_figures_are_chosen_on_the_trial_items(folder: Path, tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("gensim")
    saved(tmp_path)
    text = tmp_path / "text.txt"
    text.write_text("the factory works .\nrotate the mill and spin , mills turn\n" * 20, "utf-8")
    monkeypatch.setattr(word_choice, "SEEDS", (1,))
    figures = Figures(tmp_path / "figures.jsonl")
    word_choice.measure(folder, [str(tmp_path / "model.tar.gz")], text, figures)
    written = (tmp_path / "figures.jsonl").read_text("utf-8")
    assert [line["way"] for line in figures.lines({"vectors": "biLM"})] == [*SCORERS, *CHOSEN]
    assert [line["way"] for line in figures.lines({"vectors": "word2vec"})] == ["target", *COMBINATIONS]
    for line in figures.lines({}):
        assert {"trial", "test", "test_v"} <= set(line) and all(0 <= line[name] <= 100 for name in ("trial", "test"))
    for way in CHOSEN:
        (line,) = figures.lines({"way": way})
        assert line["numbers"]
    word_choice.measure(folder, [str(tmp_path / "model.tar.gz")], text, figures)
    assert (tmp_path / "figures.jsonl").read_text("utf-8") == written


def test_numbers_are_chosen_by_the_trial_items_alone() -> None:
    items = [
        Item("a.n", ("a",), 0, ("b", "c"), (1.0, 0.0), False),
        Item("a.n", ("a",), 0, ("b", "c"), (0.0, 1.0), True),
    ]
    # Without its prior, "c" is more probable; the prior of "c" makes "b" the first.
    zeros = np.zeros(2)
    evidence = Evidence(np.array([0.0, 1.0]), zeros, zeros, zeros, zeros, np.zeros((3, 2)))
    priors = np.array([0.0, 4.0])
    line = word_choice._choose(items, "weighted Bayes", [evidence] * 2, [priors] * 2)
    assert line == {"numbers": [0.3], "trial": 100.0, "test": 50.0, "test_n": 50.0}
