"""Tokens that are not strings are refused with their position."""

import numpy as np
import pytest

from allennlp_elmo_plus import ElmoEmbedder
from allennlp_elmo_plus.data.text.characters import encode_words
from allennlp_elmo_plus.errors import InputError
from tests.helpers.small_encoders import options_of, random_encoder


@pytest.fixture(scope="module")
def embedder() -> ElmoEmbedder:
    return ElmoEmbedder(random_encoder(options_of("usual")), batch_size=6)


@pytest.mark.parametrize("token, shown", [(None, "None"), (np.nan, "nan"), (7, "7"), (["a"], "['a']"), (b"a", "b'a'")])
def test_a_token_that_is_no_string_is_named_by_sentence_and_position(embedder, token, shown):
    message = f"`sentences[1][2]` must be a string, got {shown}, in ['the', 'river', {shown}]"
    with pytest.raises(InputError) as error:
        embedder.embed_batch([["the", "mill"], ["the", "river", token], ["rises"]])
    assert str(error.value) == message
    with pytest.raises(InputError) as error:
        list(embedder.embed_sentences(iter([["the"], ["the", "river", token]])))
    assert str(error.value) == message
    with pytest.raises(InputError) as error:
        embedder.embed_sentence(["the", token])
    assert str(error.value) == f"`sentence[1]` must be a string, got {shown}, in ['the', {shown}]"


@pytest.mark.parametrize(
    "sentence, shown",
    [(None, "None"), (np.nan, "nan"), (7, "7"), (b"ab", "b'ab'"), ("a b", "the string 'a b': split it first")],
)
def test_a_sentence_that_is_no_list_is_named_by_its_position(embedder, sentence, shown):
    with pytest.raises(InputError) as error:
        embedder.embed_batch([["the", "mill"], sentence])
    assert str(error.value) == f"`sentences[1]` must be a list of words, got {shown}"


def test_any_sequence_of_strings_is_a_sentence(embedder):
    words = ["the", "mill", "turns"]
    expected = embedder.embed_sentence(words)
    for sentence in (tuple(words), np.array(words), np.array(words, dtype=object)):
        np.testing.assert_array_equal(embedder.embed_sentence(sentence), expected)


def test_a_word_to_encode_that_is_no_string_is_named():
    with pytest.raises(InputError, match=r"^`words\[1\]` must be a string, got None, in \['the', None\]$"):
        encode_words(["the", None])
