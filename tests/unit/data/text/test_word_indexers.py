"""The ids of words by kind of token encoder; those of ELMoForManyLangs are in test_many_langs.py."""

import numpy as np

from allennlp_elmo_plus.data.text.characters import encode_words
from allennlp_elmo_plus.data.text.word_indexers import CharacterIndexer, VocabularyIndexer


def test_characters_are_those_of_bilm_tf() -> None:
    indexer = CharacterIndexer(7)
    words = ["mill", "나비", *indexer.boundaries]
    assert np.array_equal(indexer.ids(words), encode_words(words, 7))


def test_words_are_lines_of_the_vocabulary() -> None:
    indexer = VocabularyIndexer(["mill", "<S>", "</S>", "<UNK>"])
    assert indexer.ids(["mill", "hill", *indexer.boundaries]).tolist() == [0, 3, 1, 2]
