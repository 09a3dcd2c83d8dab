"""Neighbours in a text that is held in memory are those that one pass over the text finds."""

import pytest
import torch

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.inference import neighbor_index
from allennlp_elmo_plus.inference.embedder import ElmoEmbedder
from allennlp_elmo_plus.inference.neighbor_index import NeighborIndex
from allennlp_elmo_plus.inference.neighbors import NeighborSearch
from tests.helpers.small_models import VOCABULARY
from tests.unit.inference.test_neighbors import QUERIES, TEXT, WORD_IDS, encoder_of


@pytest.mark.parametrize("overrides", [{}, {"bidirectional": False}, {"char_cnn": None, "n_tokens_vocab": 12}])
def test_neighbors_are_those_of_a_search(overrides: dict) -> None:
    encoder = encoder_of(**overrides)
    index = NeighborIndex(ElmoEmbedder(encoder, VOCABULARY, batch_size=8), iter(TEXT))
    assert index.num_words == sum(map(len, TEXT))
    search = NeighborSearch(encoder, QUERIES, 4, word_ids=WORD_IDS)
    search.add_text(TEXT)
    for query, expected in zip(QUERIES, search.result(), strict=True):
        ours = index.neighbors(query, 4)
        for near, other in (*zip(ours.context_free, expected.context_free), *zip(ours.contextual, expected.contextual)):
            assert near.similarity == pytest.approx(other.similarity, abs=1e-9)
            assert near[1:] == other[1:]
        assert len(ours.contextual) == 4 and len(ours.context_free) == len(expected.context_free)


def test_a_text_is_read_up_to_the_limit_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = ElmoEmbedder(encoder_of(), None)
    monkeypatch.setattr(neighbor_index, "MAX_NUMBERS", 14 * embedder.output_size)
    index = NeighborIndex(embedder, TEXT)
    assert index.num_words == 14 and index.sentence_of(7, 9) == tuple(TEXT[1])
    assert index.sentence_of(9, 20) is None


def test_a_text_without_words_is_refused() -> None:
    torch.manual_seed(1)
    with pytest.raises(InputError, match="^the text must hold at least one word, got none$"):
        NeighborIndex(ElmoEmbedder(encoder_of(), None), [[]])
