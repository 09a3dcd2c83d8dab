"""The ids of words in a model of ELMoForManyLangs."""

import numpy as np
import pytest

from allennlp_elmo_plus.data.text.many_langs import ManyLangsIndexer
from allennlp_elmo_plus.errors import InputError

WORDS = ["<oov>", "the", "나비"]
CHARACTERS = ["t", "나", "비", "<bos>", "<eos>", "<oov>", "<bow>", "<eow>", "<pad>"]
OOV, BEGIN, END, PAD = 6, 8, 7, 9  # A word begins with the id of `<eow>`.


def test_a_row_has_the_word_and_then_its_characters() -> None:
    indexer = ManyLangsIndexer(WORDS, CHARACTERS, 5)
    assert indexer.num_ids == 6 and indexer.ids([]).shape == (0, 6)
    ids = indexer.ids(["the", "나비", "", "나x🙂"])
    assert ids.dtype == np.int32
    assert ids.tolist() == [
        [2, BEGIN, 1, OOV, OOV, END],
        [3, BEGIN, 2, 3, END, PAD],
        [1, BEGIN, END, PAD, PAD, PAD],
        [1, BEGIN, 2, OOV, OOV, END],
    ]


def test_a_word_is_cut_at_code_points_before_it_is_looked_up() -> None:
    rows = ManyLangsIndexer(WORDS, CHARACTERS, 5).ids(["the", "theory"])
    assert np.array_equal(rows[0], rows[1])


def test_the_words_around_a_sentence_are_spelled_by_one_character() -> None:
    indexer = ManyLangsIndexer(None, CHARACTERS, 7)
    assert indexer.ids(indexer.boundaries).tolist() == [
        [BEGIN, 4, END, PAD, PAD, PAD, PAD],
        [BEGIN, 5, END, PAD, PAD, PAD, PAD],
    ]


def test_a_model_may_have_no_characters() -> None:
    assert ManyLangsIndexer(WORDS, None, 5).ids(["나비", "x"]).tolist() == [[3], [1]]


@pytest.mark.parametrize(
    "words, characters, message",
    [
        (["the"], None, "`words` must hold <oov>, got none for <oov>"),
        (None, CHARACTERS[:-2], "got none for <pad>, <eow>"),
        (None, [*CHARACTERS, "x"], "`characters` must end with <pad>, got 'x'"),
    ],
)
def test_dictionaries_that_lack_a_name_are_refused(words, characters, message) -> None:
    with pytest.raises(InputError) as error:
        ManyLangsIndexer(words, characters, 5)
    assert message in str(error.value)


def test_a_word_that_is_no_string_is_refused() -> None:
    with pytest.raises(InputError, match="must be a string, got 3"):
        ManyLangsIndexer(WORDS, None, 5).ids(["the", 3])  # type: ignore[list-item]
