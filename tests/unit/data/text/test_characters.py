import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.data.text import characters
from allennlp_elmo_plus.data.text.characters import (
    encode_words,
    is_truncated,
    spell_as,
    word_lengths,
)

# Any code point, lone surrogates included, and words that are a boundary or resemble one.
any_word = st.one_of(
    st.text(st.characters(), max_size=60),
    st.sampled_from(["<S>", "</S>", "<UNK>", "<S", "<S>>", "<S>\ud800", "", "\0", "강" * 17, "👩‍👩‍👧‍👦" * 3]),
)
widths = st.integers(3, 60)


def encode_word(word: str, max_characters: int = 50) -> np.ndarray:
    return encode_words([word], max_characters)[0]


def spell_one_at_a_time(word: str, max_characters: int) -> list:
    """Return the ids by their definition, without arrays."""
    if word == "<S>":
        codes = [256]
    elif word == "</S>":
        codes = [257]
    else:
        codes = list(word.encode("utf-8", errors="ignore"))[: max_characters - 2]
    codes = [258, *codes, 259]
    return [code + 1 for code in codes + [260] * (max_characters - len(codes))]


@settings(deadline=None)
@given(st.lists(any_word, max_size=20), widths)
def test_ids_are_those_of_the_definition(words, width):
    ids = encode_words(words, width)
    assert ids.dtype == np.int16 and ids.shape == (len(words), width)
    assert ids.tolist() == [spell_one_at_a_time(word, width) for word in words]


def test_ids_do_not_depend_on_the_words_spelled_together(monkeypatch):
    words = ["<S>", "the", "naïve", "</S>", "<S>ee", "강아지", "x" * 70] * 3
    together = encode_words(words, 20)
    assert all(np.array_equal(row, encode_word(word, 20)) for row, word in zip(together, words, strict=True))
    monkeypatch.setattr(characters, "_BLOCK_WORDS", 2)
    assert np.array_equal(encode_words(words, 20), together)


def test_a_word_may_be_truncated_in_the_middle_of_a_character():
    ids = encode_word("aa강", 6)
    assert ids.tolist() == [259, 98, 98, 0xEA + 1, 0xB0 + 1, 260]
    assert encode_word("강" * 16).tolist() == encode_word("강" * 17).tolist()


@settings(deadline=None)
@given(any_word, widths)
def test_lengths_count_up_to_the_end_of_the_word(word, width):
    ids = encode_word(word, width)
    assert word_lengths(ids) == ids.tolist().index(260) + 1


def test_lengths_keep_the_leading_shape_and_are_zero_without_a_word():
    ids = np.zeros((2, 3, 50), dtype=np.int16)
    ids[0, :2] = encode_words(["ab", "c" * 90])
    assert word_lengths(ids).tolist() == [[4, 50, 0], [0, 0, 0]]


@settings(deadline=None)
@given(any_word, widths)
def test_a_word_is_truncated_if_a_wider_encoding_spells_more_of_it(word, width):
    assert is_truncated(word, width) == (word_lengths(encode_word(word, width)) < word_lengths(encode_word(word, 400)))


def test_a_single_character_spells_a_boundary():
    assert np.array_equal(spell_as(257, 10), encode_word("<S>", 10))
    assert np.array_equal(spell_as(258, 10), encode_word("</S>", 10))


@pytest.mark.parametrize(
    "function", [lambda c: encode_words([], c), lambda c: encode_word("a", c), lambda c: spell_as(1, c)]
)
def test_a_width_without_room_for_a_boundary_is_refused(function):
    function(3)
    with pytest.raises(ValueError, match="`max_characters` must be at least 3, got 2"):
        function(2)
    with pytest.raises(ValueError, match="`max_characters` must be at most 1024, got 1099511627776"):
        function(2**40)
