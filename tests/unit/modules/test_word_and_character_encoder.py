"""The token encoder of ELMoForManyLangs apart from its files; tests/unit/formats/test_many_langs.py compares its numbers."""

import pytest
import torch

from allennlp_elmo_plus.modules.build import build_many_langs_encoder
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.options.many_langs_options import ManyLangsOptions

OPTIONS = ManyLangsOptions(3, 4, ((1, 4), (3, 5)), "relu", 1, 5, 6, 4, 1)
WORDS_ALONE = ManyLangsOptions(3, 0, ((1, 1),), "relu", 0, 5, 6, 4, 1)


def encoder_of(options: ManyLangsOptions, num_words: int = 7, num_characters: int = 9) -> BiLMEncoder:
    torch.manual_seed(2)
    return build_many_langs_encoder(options, num_words, num_characters)


def test_tables_without_rows_take_those_of_a_state_dict() -> None:
    full, empty = encoder_of(OPTIONS), encoder_of(OPTIONS, 0, 0).requires_grad_(False)
    full.boundary_ids[:] = torch.arange(1, 7)
    empty.load_state_dict(full.state_dict())
    assert all(torch.equal(value, full.state_dict()[name]) for name, value in empty.state_dict().items())
    assert not any(parameter.requires_grad for parameter in empty.parameters())
    ids = torch.randint(1, 8, (2, 3, 6))
    assert torch.equal(torch.cat(empty(ids).layers), torch.cat(full(ids).layers))


def test_tables_with_rows_refuse_another_number_of_rows() -> None:
    with pytest.raises(RuntimeError, match="size mismatch for token_encoder.words.embedding"):
        encoder_of(OPTIONS).load_state_dict(encoder_of(OPTIONS, num_words=8).state_dict())


def test_words_of_high_ids_are_not_mistaken_for_one_another_in_the_cache() -> None:
    encoder = encoder_of(WORDS_ALONE, 2**16 + 1).requires_grad_(False)
    words = torch.tensor([[1], [2**16 + 1]])
    one_by_one = torch.cat([encoder.word_vectors(word[None]) for word in words])
    assert torch.equal(one_by_one, encoder.token_encoder(words)) and not torch.equal(*one_by_one)


@pytest.mark.parametrize("row", [[8, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1]])
def test_ids_of_words_out_of_range_are_refused(row: list[int]) -> None:
    with pytest.raises(ValueError, match="ids of words must be from 1 to 7, got from"):
        encoder_of(OPTIONS).token_encoder(torch.tensor([row]))


def test_ids_of_characters_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="`characters` must be from 1 to 9, got 10"):
        encoder_of(OPTIONS).token_encoder(torch.tensor([[1, 10, 1, 1, 1, 1]]))


def test_ids_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`ids` must have shape \(B, T, 6\), got \(2, 3, 5\)"):
        encoder_of(OPTIONS)(torch.ones(2, 3, 5, dtype=torch.int64))
