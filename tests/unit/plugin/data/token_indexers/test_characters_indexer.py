"""The token indexer `bilm_characters`, compared with AllenNLP's `elmo_characters`."""

import pytest
import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import Batch, Instance, Token, TokenIndexer, Vocabulary
from allennlp.data.fields import ListField, TextField
from allennlp.data.token_indexers import ELMoTokenCharactersIndexer
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.plugin.data.token_indexers.characters_indexer import BilmCharactersIndexer
from allennlp_elmo_plus.plugin.data.token_indexers.words_indexer import BilmWordsIndexer

any_text = st.one_of(
    st.text(st.characters(), max_size=60),
    st.sampled_from(["<S>", "</S>", "<S>\ud800", "강아지" * 9, "👩‍👩‍👧‍👦" * 3, "<mask>"]),
)
sentences = st.lists(any_text, max_size=6)
VOCABULARY = Vocabulary()


def tokens(words):
    return [Token(word) for word in words]


def both_indexers(**options):
    return BilmCharactersIndexer(**options), ELMoTokenCharactersIndexer(**options)


@settings(deadline=None)
@given(sentences, st.booleans())
def test_ids_are_those_of_elmo_characters(words, add):
    ours, theirs = both_indexers(tokens_to_add={"<mask>": 5, "강아지": 260, "<S>": 7} if add else None)
    assert ours.tokens_to_indices(tokens(words), VOCABULARY) == theirs.tokens_to_indices(tokens(words), VOCABULARY)


@settings(deadline=None)
@given(sentences, st.integers(0, 8), st.integers(0, 4))
def test_tensors_are_those_of_elmo_characters(words, length, min_padding):
    ours, theirs = both_indexers(token_min_padding_length=min_padding)
    indices = theirs.tokens_to_indices(tokens(words), VOCABULARY)
    longest = ours.get_padding_lengths(indices)
    assert longest == theirs.get_padding_lengths(indices)
    for lengths in (longest, {"elmo_tokens": length}):
        padded = ours.as_padded_tensor_dict(indices, lengths)
        expected = theirs.as_padded_tensor_dict(indices, lengths)
        assert padded.keys() == expected.keys() == {"elmo_tokens"}
        assert padded["elmo_tokens"].dtype == torch.int64
        assert torch.equal(padded["elmo_tokens"], expected["elmo_tokens"].reshape(-1, 50))


def test_batches_are_those_of_elmo_characters():
    def batch(indexer):
        fields = [
            [TextField(tokens(words.split()), {"elmo": indexer}) for words in row] for row in (["a bc", ""], ["def"])
        ]
        instances = Batch([Instance({"text": row[0], "list": ListField(row)}) for row in fields])
        instances.index_instances(VOCABULARY)
        return instances.as_tensor_dict()

    ours, theirs = map(batch, both_indexers())
    for field in ("text", "list"):
        assert torch.equal(ours[field]["elmo"]["elmo_tokens"], theirs[field]["elmo"]["elmo_tokens"])


def test_add_bos_eos_adds_the_two_boundaries():
    plain = BilmCharactersIndexer(max_characters_per_token=12)
    bounded = BilmCharactersIndexer(max_characters_per_token=12, add_bos_eos=True)
    expected = plain.tokens_to_indices(tokens(["<S>", "a", "longer-than-12", "</S>"]), VOCABULARY)
    indices = bounded.tokens_to_indices(tokens(["a", "longer-than-12"]), VOCABULARY)
    assert indices == expected
    assert bounded.get_padding_lengths(indices) == {"elmo_tokens": 4}
    tensor = bounded.as_padded_tensor_dict(indices, {"elmo_tokens": 6})["elmo_tokens"]
    assert tensor.shape == (6, 12)
    assert tensor.any(dim=1).tolist() == [True] * 4 + [False] * 2
    assert len(bounded.tokens_to_indices([], VOCABULARY)["elmo_tokens"]) == 2


def test_an_indexer_from_a_config_has_its_options_and_counts_no_words():
    options = {
        "type": "bilm_characters",
        "max_characters_per_token": 20,
        "tokens_to_add": {"<mask>": 3},
        "add_bos_eos": True,
    }
    indexer = TokenIndexer.from_params(Params(options))
    assert indexer == BilmCharactersIndexer(20, {"<mask>": 3}, True) != BilmCharactersIndexer(20)
    assert indexer.get_empty_token_list() == {"elmo_tokens": []}
    counter: dict = {}
    indexer.count_vocab_items(Token("word"), counter)
    assert counter == {}


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="`max_characters` must be at least 3, got 2"):
        BilmCharactersIndexer(max_characters_per_token=2)
    with pytest.raises(ValueError, match="`tokens_to_add` must give ids from 0 to 260, got 261 for '<mask>'"):
        BilmCharactersIndexer(tokens_to_add={"<mask>": 261})
    with pytest.raises(
        ConfigurationError, match="has no option `max_characters`: did you mean `max_characters_per_token`?"
    ):
        TokenIndexer.from_params(Params({"type": "bilm_characters", "max_characters": 20}))


def test_a_token_without_text_is_refused_by_its_position(tmp_path):
    (tmp_path / "vocab.txt").write_text("<S>\n</S>\n<UNK>\nthe\n")
    # AllenNLP's Token accepts no other types than strings and None.
    words = [Token("the"), Token(None)]
    for indexer in (BilmCharactersIndexer(), BilmWordsIndexer(str(tmp_path / "vocab.txt"))):
        with pytest.raises(InputError, match=r"`(words|tokens)\[1\]` must be a string, got None, in \['the', None\]$"):
            indexer.tokens_to_indices(words, Vocabulary())
