"""What the page shows of a biLM: surprisal, substitutes, neighbours and similarities of the right word."""

import math

import numpy as np
import pytest
import torch

from allennlp_elmo_plus.explore.explorer import Explorer

WORDS = ["the", "mill", "turns"]


def test_surprisal_is_the_binary_logarithm_of_the_probability(explorer: Explorer) -> None:
    ((forward, backward),) = explorer._scorer.log_probs([WORDS])
    surprisal = explorer.surprisal(WORDS)
    assert surprisal.forward == pytest.approx([-math.log2(math.exp(value)) for value in forward.tolist()])
    assert surprisal.backward == pytest.approx([-math.log2(math.exp(value)) for value in backward.tolist()])


def test_the_probability_of_a_substitute_is_its_surprisal_in_the_sentence(explorer: Explorer) -> None:
    for position in range(3):
        forward, backward = explorer.substitutes(WORDS, position)
        assert len(forward) == len(backward) == 10
        for substitutes, part, target in ((forward, 0, position), (backward, 1, position + 1)):
            word, probability = substitutes[1]
            changed = [*WORDS[:position], word, *WORDS[position + 1 :]]
            assert -math.log2(probability) == pytest.approx(explorer.surprisal(changed)[part][target], abs=1e-5)


def test_neighbors_come_from_the_text(explorer: Explorer) -> None:
    neighbors = explorer.neighbors(["the", "river"], 1)
    assert neighbors.query.word == "river" and len(neighbors.contextual) == 5
    assert explorer.num_text_words == 20 and explorer.example == tuple(
        "and the mill turns and turns and turns .".split()
    )


def test_similarities_are_cosines_by_layer(explorer: Explorer) -> None:
    values = explorer.similarities(WORDS, ["the", "mill"])
    assert values.shape == (3, 3, 2)
    assert values[0, 0, 0] == pytest.approx(1) and values[0, 1, 1] == pytest.approx(1)
    own = explorer.similarities(WORDS, WORDS)
    assert np.allclose(own, own.swapaxes(1, 2)) and np.allclose(own.diagonal(axis1=1, axis2=2), 1)
    vectors = torch.from_numpy(explorer._embedder.embed_sentence(WORDS))
    assert own[2, 0, 2] == pytest.approx(float(torch.cosine_similarity(vectors[2, 0], vectors[2, 2], dim=0)), abs=1e-6)


def test_a_vector_of_zeros_is_similar_to_nothing(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explorer._embedder, "embed_sentence", lambda words: np.zeros((3, len(words), 4), np.float32))
    assert not explorer.similarities(WORDS, ["the"]).any()
