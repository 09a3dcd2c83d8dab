"""Nearest neighbours found in one pass over a text, compared with all pairs of tokens."""

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
    """Return the vectors of one sentence at one layer, (words, output size), computed in a batch of one."""
    layers, layout, _ = encoder(sentence_ids([sentence], encoder.max_characters, WORD_IDS))
    return layout.unpack(layers[layer])[0]


@pytest.mark.parametrize("overrides", [{}, {"bidirectional": False}, {"char_cnn": None, "n_tokens_vocab": 12}])
@pytest.mark.parametrize("layer", [0, 1, -1])
@pytest.mark.parametrize("batch_tokens", [1, 8, 4096])
def test_neighbors_are_those_of_all_pairs(
    overrides: dict, layer: int, batch_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbors, "BATCH_TOKENS", batch_tokens)
    encoder = encoder_of(**overrides)
    search = NeighborSearch(encoder, QUERIES, 4, layer, word_ids=WORD_IDS)
    search.add_text(TEXT[:3])
    search.add_text(TEXT[3:])
    for query, neighborhood in zip(QUERIES, search.result(), strict=True):
        assert neighborhood.query == query
        vector = layer_of(encoder, query.sentence, layer)[query.position]
        # In a dictionary, the same position of a repeated sentence counts once.
        expected = {
            TokenInContext(tuple(sentence), position): float(torch.cosine_similarity(vector, other, dim=0))
            for sentence in TEXT
            for position, other in enumerate(layer_of(encoder, sentence, layer) if sentence else [])
            if (tuple(sentence), position) != query
        }
        best = sorted(expected.values(), reverse=True)[:4]
        assert [neighbor.similarity for neighbor in neighborhood.contextual] == pytest.approx(best, abs=1e-9)
        for neighbor in neighborhood.contextual:
            assert neighbor.similarity == pytest.approx(expected[neighbor.token], abs=1e-9)

        free = layer_of(encoder, query.sentence, 0)[query.position]
        expected_words = {
            word: float(torch.cosine_similarity(free, layer_of(encoder, [word], 0)[0], dim=0))
            for word in {word for sentence in TEXT for word in sentence} - {query.word}
        }
        ranking = sorted(expected_words.items(), key=lambda item: -item[1])[:4]
        assert [neighbor.word for neighbor in neighborhood.context_free] == [word for word, _ in ranking]
        similarities = [neighbor.similarity for neighbor in neighborhood.context_free]
        assert similarities == pytest.approx([similarity for _, similarity in ranking])


@pytest.mark.parametrize("overrides", [{}, {"char_cnn": None, "n_tokens_vocab": 12}])
def test_context_free_neighbors_come_from_the_vocabulary(overrides: dict) -> None:
    encoder = encoder_of(**overrides)
    search = NeighborSearch(encoder, QUERIES[:1], 20, vocabulary=VOCABULARY, word_ids=WORD_IDS)
    search.add_text([["unheard", "words"]])
    (neighborhood,) = search.result()
    free = layer_of(encoder, QUERIES[0].sentence, 0)[2]
    assert {neighbor.word for neighbor in neighborhood.context_free} == set(VOCABULARY) - {"river"}
    for neighbor in neighborhood.context_free:
        if neighbor.word not in VOCABULARY[:3]:
            other = layer_of(encoder, [neighbor.word], 0)[0]
            assert neighbor.similarity == pytest.approx(float(torch.cosine_similarity(free, other, dim=0)))


@settings(deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5)), max_size=6), max_size=5),
    st.integers(1, 4),
)
def test_the_nearest_items_are_those_of_a_sorted_list(batches: list[list[tuple[int, int]]], num_kept: int) -> None:
    """Each item has one similarity: the first one drawn for it. Item 0 is excluded."""
    similarity_of: dict[int, float] = {}
    nearest = NearestItems(num_kept, excluded=0)
    for batch in batches:
        for item, fifths in batch:
            similarity_of.setdefault(item, fifths / 5)
        items = [item for item, _ in batch]
        nearest.add(torch.tensor([similarity_of[item] for item in items]), items.__getitem__)
    similarity_of.pop(0, None)
    result = nearest.nearest_first()
    expected = sorted(similarity_of.values(), reverse=True)[:num_kept]
    assert [similarity for similarity, _ in result] == pytest.approx(expected)
    assert all(similarity == pytest.approx(similarity_of[item]) for similarity, item in result)
    assert len({item for _, item in result}) == len(result)


def test_long_sentences_are_skipped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "MAX_SENTENCE_WORDS", 3)
    search = NeighborSearch(encoder_of(), QUERIES, 4)
    search.add_text([["the"] * 4, ["mill"], [], ["a"] * 9])
    assert search.num_skipped == 2
    assert {neighbor.token.word for neighbor in search.result()[0].contextual} == {"mill"}


@pytest.mark.parametrize(
    "num_neighbors, layer, message",
    [
        (4, 3, "^`layer` must be from 0 to 2, or -1 for the top one, got 3$"),
        (0, 1, "^`num_kept` must be at least 1, got 0$"),
    ],
)
def test_a_layer_or_number_of_neighbors_out_of_range_is_refused(
    num_neighbors: int, layer: Optional[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        NeighborSearch(encoder_of(), QUERIES, num_neighbors, layer)
