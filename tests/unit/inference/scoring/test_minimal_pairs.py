"""Scores of minimal pairs: sums of the log-probabilities of words, ties, unknown words, accuracies."""

import pytest

from allennlp_elmo_plus.data.text.minimal_pairs import MinimalPair
from allennlp_elmo_plus.formats.parameters import PretrainedModel
from allennlp_elmo_plus.inference.scoring.minimal_pairs import (
    Accuracy,
    PairLogProbs,
    PairScore,
    accuracy,
    accuracy_by_phenomenon,
    score_pairs,
)
from allennlp_elmo_plus.inference.scoring.word_log_probs import WordScorer
from tests.helpers.small_models import VOCABULARY, small_model, small_options

PAIRS = [
    MinimalPair("file", 1, "agreement", ["the", "river", "rises"], ["the", "river", "rise"]),
    MinimalPair("file", 3, "order", ["the", "mill", "turns", "."], ["mill", "the", "turns"]),
]


def scorer(**overrides: object) -> WordScorer:
    model = small_model(5, **overrides)
    for parameter in model.parameters():
        # In a new model all sentences of a length are about equally probable.
        parameter.data.mul_(4)
    return WordScorer(PretrainedModel(model, small_options(**overrides), VOCABULARY))


def test_a_score_is_the_sum_over_the_sentence() -> None:
    ours = scorer()
    scores = list(score_pairs(ours, PAIRS))
    for pair, score in zip(PAIRS, scores, strict=True):
        sentences = [next(ours.log_probs([sentence])) for sentence in (pair.acceptable, pair.unacceptable)]
        forward = [float(sentence.forward.sum()) for sentence in sentences]
        backward = [float(sentence.backward.sum()) for sentence in sentences]
        assert list(score.log_probs) == ["forward", "backward", "both"]
        assert score.log_probs["forward"] == pytest.approx(forward)
        assert score.log_probs["backward"] == pytest.approx(backward)
        assert score.log_probs["both"] == pytest.approx([sum(pair) for pair in zip(forward, backward, strict=True)])
    assert [score.unknown_words for score in scores] == [["rise"], []]
    assert scores[0].as_dict() == {
        "file": "file",
        "line": 1,
        "phenomenon": "agreement",
        "acceptable": "the river rises",
        "unacceptable": "the river rise",
        "unknown_words": ["rise"],
        **{
            name: {
                "acceptable": log_probs.acceptable,
                "unacceptable": log_probs.unacceptable,
                "correct": float(log_probs.acceptable > log_probs.unacceptable),
            }
            for name, log_probs in scores[0].log_probs.items()
        },
    }


def test_a_forward_only_model_has_one_score() -> None:
    assert [list(score.log_probs) for score in score_pairs(scorer(bidirectional=False), PAIRS)] == [["forward"]] * 2


def test_sentences_that_a_model_of_words_reads_alike_are_a_tie() -> None:
    unheard = MinimalPair("file", 1, "a", ["the", "hen", "falls"], ["the", "zebra", "falls"])
    by_words, by_characters = (next(score_pairs(scorer(**sizes), [unheard])) for sizes in ({"char_cnn": None}, {}))
    assert [log_probs.correct for log_probs in by_words.log_probs.values()] == [0.5] * 3
    assert 0.5 not in [log_probs.correct for log_probs in by_characters.log_probs.values()]


@pytest.mark.parametrize("acceptable, correct", [(-49.0, 1), (-51.0, 0), (-50.0, 0.5), (-50.00001, 0.5), (-50.001, 0)])
def test_probabilities_that_differ_by_rounding_are_a_tie(acceptable: float, correct: float) -> None:
    assert PairLogProbs(acceptable, -50.0).correct == correct


def test_ties_count_half() -> None:
    right, wrong, tie = PairLogProbs(-1, -2), PairLogProbs(-2, -1), PairLogProbs(-1, -1)
    first, second = PAIRS
    scores = [
        PairScore(first, {"forward": right, "backward": wrong}, []),
        PairScore(second, {"forward": wrong, "backward": wrong}, []),
        PairScore(first, {"forward": tie, "backward": right}, []),
    ]
    assert accuracy_by_phenomenon(scores) == {
        "agreement": Accuracy(2, {"forward": 0.75, "backward": 0.5}),
        "order": Accuracy(1, {"forward": 0, "backward": 0}),
    }
    assert accuracy(scores) == Accuracy(3, {"forward": 0.5, "backward": pytest.approx(1 / 3)})
