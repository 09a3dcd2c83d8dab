"""Clusters, substitutes and measures of the usages of a word."""

import builtins
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.model_files import ModelSource
from allennlp_elmo_plus.formats.pretrained import load_language_model, read_model
from allennlp_elmo_plus.inference.embedder import ElmoEmbedder
from allennlp_elmo_plus.inference.neighbors import TokenInContext
from allennlp_elmo_plus.inference.pooling import unit_vectors
from allennlp_elmo_plus.inference.scoring.word_log_probs import WordScorer
from allennlp_elmo_plus.usages import _clusters
from allennlp_elmo_plus.usages._clusters import MIN_USAGES, cluster
from allennlp_elmo_plus.usages.comparison import UsageComparer
from allennlp_elmo_plus.usages.measures import average_pairwise_distance, prototype_distance
from allennlp_elmo_plus.usages.occurrences import Sample
from allennlp_elmo_plus.usages.usage_model import UsageModel
from tests.helpers.saved_bilm import VOCABULARY, saved

CPU = torch.device("cpu")
TOKENS = [
    TokenInContext(tuple(sentence.split()), position)
    for sentence, position in [
        ("the mill turns .", 1),
        ("the mill and the river", 1),
        ("mill", 0),
        ("and then the unheard mill rises and turns .", 4),
        ("the river rises . mill", 4),
        ("나비 mill", 1),
    ]
]
FIRST, SECOND = Sample(9, TOKENS[:4]), Sample(2, TOKENS[4:])


@pytest.fixture(scope="module")
def bilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bilm")
    saved(directory)
    return directory


@pytest.fixture(scope="module")
def model(bilm: Path) -> UsageModel:
    return UsageModel(read_model(ModelSource(bilm / "model.tar.gz")), -1, CPU)


def clouds(sizes: list[int]) -> np.ndarray:
    """Return unit vectors in groups of `sizes`, each group near an axis."""
    random = np.random.default_rng(1)
    return unit_vectors(
        np.concatenate([np.eye(4)[axis] + random.normal(0, 0.05, (size, 4)) for axis, size in enumerate(sizes)])
    )


@pytest.mark.parametrize("method", ["kmeans", "affinity"])
def test_clouds_are_clusters_and_the_largest_is_first(method: str) -> None:
    sizes = [6, 20, 11]
    labels = cluster(clouds(sizes), method, 1)
    assert labels.tolist() == [2] * 6 + [0] * 20 + [1] * 11
    np.testing.assert_array_equal(labels, cluster(clouds(sizes), method, 1))


@pytest.mark.parametrize("method", ["kmeans", "affinity"])
def test_few_or_equal_usages_are_one_cluster(method: str) -> None:
    assert cluster(clouds([MIN_USAGES - 1]), method, 1).tolist() == [0] * (MIN_USAGES - 1)
    assert cluster(np.eye(3)[[0, 1, 2] * 5], method, 1).tolist() == [0] * 15


@pytest.mark.parametrize("num_iterations", [1, 20, 40])
def test_where_affinity_propagation_does_not_converge_there_is_one_cluster(
    num_iterations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_clusters, "_MAX_ITERATIONS", num_iterations)
    assert set(cluster(clouds([6, 20, 11]), "affinity", 1).tolist()) == {0}


def test_substitutes_are_the_words_that_both_directions_and_frequency_favour(model: UsageModel, bilm: Path) -> None:
    scorer = WordScorer(load_language_model(bilm / "model.tar.gz"))
    word_ids = {word: number for number, word in enumerate(VOCABULARY)}
    for token, substitutes in zip(TOKENS, model.substitutes(TOKENS), strict=True):
        scores = {}
        for word in set(VOCABULARY) - {"<S>", "</S>", "<UNK>"}:
            sentence = [*token.sentence[: token.position], word, *token.sentence[token.position + 1 :]]
            ((forward, backward),) = scorer.log_probs([sentence])
            log_probs = forward[token.position] + backward[token.position + 1]
            scores[word] = math.exp(log_probs) * (word_ids[word] + 1)
        total = sum(scores.values())
        expected = sorted(((word, score / total) for word, score in scores.items()), key=lambda pair: -pair[1])
        expected = [(word, score) for word, score in expected if word != "mill"]
        assert [word for word, _ in substitutes] == [word for word, _ in expected]
        assert [score for _, score in substitutes] == pytest.approx([score for _, score in expected], rel=1e-4)


def test_a_comparison_has_the_measures_of_the_vectors(model: UsageModel, bilm: Path) -> None:
    embedder = ElmoEmbedder.from_pretrained(bilm / "model.tar.gz")
    vectors = np.stack([embedder.embed_sentence(token.sentence, "top")[token.position] for token in TOKENS])
    comparison = UsageComparer(model, "kmeans", 1).compare("mill", FIRST, SECOND)
    assert comparison[:3] == ("mill", (9, 2), (4, 2))
    assert comparison.difference is not None
    apd, prt, _, clusters = comparison.difference
    assert apd == pytest.approx(average_pairwise_distance(vectors[:4], vectors[4:]), abs=1e-5)
    assert prt == pytest.approx(prototype_distance(vectors[:4], vectors[4:]), abs=1e-5)
    assert np.sum([cluster.counts for cluster in clusters], axis=0).tolist() == [4, 2] and len(clusters) > 1
    labels = cluster(unit_vectors(vectors), "kmeans", 1)
    for number, (counts, substitutes, examples) in enumerate(clusters):
        members = np.flatnonzero(labels == number)
        assert counts == (sum(members < 4), sum(members >= 4))
        assert set(examples[0]) | set(examples[1]) <= {TOKENS[index] for index in members}
        assert [len(tokens) for tokens in examples] == [min(3, count) for count in counts]
        # Without the word itself and the full stop.
        assert set(substitutes) == {"the", "river", "rises", "and", "turns", "나비"}


def test_a_word_that_is_missing_in_a_corpus_has_no_difference(model: UsageModel) -> None:
    assert UsageComparer(model, "affinity", 1).compare("mill", FIRST, Sample(0, [])) == ("mill", (9, 0), (4, 0), None)


def test_a_layer_and_a_missing_softmax(bilm: Path) -> None:
    stored = read_model(ModelSource(bilm / "options.json", bilm / "weights.hdf5"))
    model = UsageModel(stored, 0, CPU)
    assert model.substitutes(TOKENS) == [[]] * len(TOKENS)
    # The word alone is the same everywhere.
    assert np.ptp(model.vectors(TOKENS), axis=0).max() < 1e-6
    with pytest.raises(InputError, match="^`layer` must be from 0 to 2, the layers of this biLM, got 3$"):
        UsageModel(stored, 3, CPU)


def test_scikit_learn_is_asked_for(model: UsageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    import_module = builtins.__import__

    def without_sklearn(name: str, *arguments: Any) -> Any:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return import_module(name, *arguments)

    monkeypatch.delitem(sys.modules, "allennlp_elmo_plus.usages._clusters")
    monkeypatch.setattr(builtins, "__import__", without_sklearn)
    with pytest.raises(InputError, match="need scikit-learn, which is not installed: pip install"):
        UsageComparer(model, "kmeans", 1)
