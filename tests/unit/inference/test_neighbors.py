"""Nearest neighbours found while the text goes by, against comparing everything with everything."""

from collections.abc import Sequence
from typing import Optional

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.data.batching.sentences import sentence_ids
from allennlp_elmo_plus.inference import neighbors
from allennlp_elmo_plus.inference.neighbors import NearestItems, NeighborSearch, TokenInContext
from allennlp_elmo_plus.modules.build import build_encoder
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from tests.helpers.small_models import VOCABULARY, small_options

WORD_IDS = {word: number for number, word in enumerate(VOCABULARY)}
TEXT = [
    line.split()
    for line in """
the river rises and falls slowly
the mill turns and the mill falls

river
and the river falls .
the river rises and falls slowly
slowly the mill turns .
""".strip("\n").split("\n")
]
QUERIES = [TokenInContext(tuple(TEXT[4]), 2), TokenInContext(("the", "mill", "rises"), 1)]


def encoder_of(**overrides: object) -> BiLMEncoder:
    torch.manual_seed(7)
    encoder = build_encoder(small_options(**overrides)).double().eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return encoder.requires_grad_(False)


def layer_of(encoder: BiLMEncoder, sentence: Sequence[str], layer: int) -> torch.Tensor:
    """(n, K): the words of one sentence alone."""
    layers, layout, _ = encoder(sentence_ids([sentence], encoder.max_characters, WORD_IDS))
    return layout.unpack(layers[layer])[0]


@pytest.mark.parametrize("overrides", [{}, {"bidirectional": False}, {"char_cnn": None, "n_tokens_vocab": 12}])
@pytest.mark.parametrize("layer", [0, 1, -1])
@pytest.mark.parametrize("batch_tokens", [1, 8, 4096])
def test_all_pairs(overrides: dict, layer: int, batch_tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "BATCH_TOKENS", batch_tokens)
    encoder = encoder_of(**overrides)
    search = NeighborSearch(encoder, QUERIES, 4, layer, word_ids=WORD_IDS)
    search.add_text(TEXT[:3])
    search.add_text(TEXT[3:])
    for query, found in zip(QUERIES, search.result(), strict=True):
        assert found.query == query
        vector = layer_of(encoder, query.sentence, layer)[query.position]
        # A dictionary: the same place of the same sentence counts once.
        expected = {
            TokenInContext(tuple(sentence), position): float(torch.cosine_similarity(vector, other, dim=0))
            for sentence in TEXT
            for position, other in enumerate(layer_of(encoder, sentence, layer) if sentence else [])
            if (tuple(sentence), position) != query
        }
        best = sorted(expected.values(), reverse=True)[:4]
        assert [near.similarity for near in found.contextual] == pytest.approx(best, abs=1e-9)
        for near in found.contextual:
            assert near.similarity == pytest.approx(expected[near.token], abs=1e-9)

        free = layer_of(encoder, query.sentence, 0)[query.position]
        expected_words = {
            word: float(torch.cosine_similarity(free, layer_of(encoder, [word], 0)[0], dim=0))
            for word in {word for sentence in TEXT for word in sentence} - {query.word}
        }
        ranking = sorted(expected_words.items(), key=lambda item: -item[1])[:4]
        assert [near.word for near in found.context_free] == [word for word, _ in ranking]
        assert [near.similarity for near in found.context_free] == pytest.approx([value for _, value in ranking])


@pytest.mark.parametrize("overrides", [{}, {"char_cnn": None, "n_tokens_vocab": 12}])
def test_words_without_context_come_from_the_vocabulary(overrides: dict) -> None:
    encoder = encoder_of(**overrides)
    search = NeighborSearch(encoder, QUERIES[:1], 20, vocabulary=VOCABULARY, word_ids=WORD_IDS)
    search.add_text([["unheard", "words"]])
    (found,) = search.result()
    free = layer_of(encoder, QUERIES[0].sentence, 0)[2]
    assert {near.word for near in found.context_free} == set(VOCABULARY) - {"river"}
    for near in found.context_free:
        if near.word not in VOCABULARY[:3]:
            other = layer_of(encoder, [near.word], 0)[0]
            assert near.similarity == pytest.approx(float(torch.cosine_similarity(free, other, dim=0)))


@settings(deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5)), max_size=6), max_size=5),
    st.integers(1, 4),
)
def test_the_nearest_are_those_of_a_sorted_list(batches: list[list[tuple[int, int]]], num_kept: int) -> None:
    """Each thing has one similarity, that of its first mention."""
    value_of: dict[int, float] = {}
    nearest = NearestItems(num_kept, excluded=0)
    for batch in batches:
        for thing, value in batch:
            value_of.setdefault(thing, value / 5)
        nearest.add(torch.tensor([value_of[thing] for thing, _ in batch]), [thing for thing, _ in batch].__getitem__)
    value_of.pop(0, None)
    found = nearest.nearest_first()
    expected = sorted(value_of.values(), reverse=True)[:num_kept]
    assert [value for value, _ in found] == pytest.approx(expected)
    assert all(value == pytest.approx(value_of[thing]) for value, thing in found)
    assert len({thing for _, thing in found}) == len(found)


def test_long_sentences_are_counted_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "MAX_SENTENCE_WORDS", 3)
    search = NeighborSearch(encoder_of(), QUERIES, 4)
    search.add_text([["the"] * 4, ["mill"], [], ["a"] * 9])
    assert search.num_skipped == 2
    assert {near.token.word for near in search.result()[0].contextual} == {"mill"}


@pytest.mark.parametrize(
    "num_neighbors, layer, message",
    [
        (4, 3, "^`layer` must be from 0 to 2, or -1 for the top one, got 3$"),
        (0, 1, "^`num_kept` must be at least 1, got 0$"),
    ],
)
def test_numbers_out_of_range(num_neighbors: int, layer: Optional[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NeighborSearch(encoder_of(), QUERIES, num_neighbors, layer)
