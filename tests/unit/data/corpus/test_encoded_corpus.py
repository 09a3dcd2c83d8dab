import gc
import logging
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.data.corpus.encoded_corpus import encode_to_temporary
from allennlp_elmo_plus.data.text.characters import encode_words, word_lengths
from allennlp_elmo_plus.data.text.text_files import iter_sentences
from allennlp_elmo_plus.errors import InputError
from tests.helpers.corpus_text import sentences_of, write

LINES = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\0"), max_size=30), min_size=1, max_size=12
).filter(lambda lines: any(line.split() for line in lines))


@given(lines=LINES)
@settings(max_examples=40, deadline=None)
def test_the_encoding_holds_the_text(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_bytes("\n".join(lines).encode("utf-8"))
    corpus = encode_to_temporary(path)
    sentences = list(iter_sentences(path))
    words = corpus.type_words()
    assert sentences_of(corpus) == sentences
    assert words[:2] == ["<S>", "</S>"] and len(set(words)) == len(words) == corpus.num_types
    assert corpus.num_sentences == len(sentences)
    assert corpus.num_tokens == sum(map(len, sentences))
    np.testing.assert_array_equal(corpus.type_characters, encode_words(words))
    np.testing.assert_array_equal(corpus.type_lengths, word_lengths(corpus.type_characters))
    assert corpus.type_counts.tolist() == [
        sum(map(sentence.count, [word])) for word in words for sentence in [sum(sentences, [])]
    ]


def test_real_text_of_several_blocks_is_encoded_whole(shared_data):
    path = shared_data / "wikitext-2" / "train.txt"
    corpus = encode_to_temporary(path)
    assert sentences_of(corpus) == list(iter_sentences(path))
    assert corpus.type_counts.sum() == corpus.num_tokens == 235845
    assert corpus.type_counts[:2].tolist() == [0, 0]
    np.testing.assert_array_equal(np.bincount(corpus.tokens, minlength=corpus.num_types), corpus.type_counts)


def test_types_come_in_the_order_of_the_text_with_the_boundaries_first(text):
    corpus = encode_to_temporary(text)
    assert corpus.type_words() == ["<S>", "</S>", "the", "hen", "sat", "egg"]
    assert corpus.tokens.tolist() == [2, 3, 4, 2, 5] and corpus.tokens.dtype == np.uint32
    assert corpus.offsets.tolist() == [0, 3, 3, 5] and corpus.offsets.dtype == np.int64


def test_boundaries_written_in_a_text_are_the_boundaries(tmp_path):
    corpus = encode_to_temporary(write(tmp_path / "text.txt", "</S> hen <S>\n"))
    assert corpus.tokens.tolist() == [1, 2, 0]


def test_the_array_of_counts_grows_with_the_types(tmp_path):
    words = [f"w{number}" for number in range(70000)]
    corpus = encode_to_temporary(write(tmp_path / "text.txt", " ".join(words) + "\nw69999\n"))
    assert corpus.type_counts.tolist() == [0, 0, *[1] * 69999, 2]


def test_the_number_of_characters_per_word_is_an_option(text):
    assert encode_to_temporary(text, max_characters=4).type_characters.shape == (6, 4)
    with pytest.raises(ValueError, match="`max_characters` must be at least 3, got 2"):
        encode_to_temporary(text, max_characters=2)


def test_the_share_of_truncated_words_is_logged(tmp_path, caplog):
    path = write(tmp_path / "text.txt", "hen " * 7 + "x" * 49 + "\n")
    with caplog.at_level(logging.INFO):
        encode_to_temporary(path)
    assert "1 sentence, 8 words, 2 distinct" in caplog.text
    assert (
        "12.500% of words (1) and 50.000% of distinct words (1) are longer than 48 bytes, and truncated" in caplog.text
    )


def test_vocabulary_ids_are_those_of_the_types(text):
    corpus = encode_to_temporary(text)
    vocabulary = {"<S>": 1, "</S>": 2, "<UNK>": 3, "hen": 4, "the": 5}
    assert corpus.vocabulary_ids(vocabulary).tolist() == [1, 2, 5, 4, 3, 3]
    with pytest.raises(InputError, match="must hold <S>, </S> and <UNK>, but lacks </S>, <UNK>"):
        corpus.vocabulary_ids({"<S>": 1})


def test_a_temporary_encoding_is_deleted_with_the_corpus(text):
    corpus = encode_to_temporary(text)
    directory = corpus.directory
    assert directory.is_dir()
    del corpus
    gc.collect()
    assert not directory.exists()


def test_a_failed_encoding_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "text").write_bytes(b"hen\n\xff\n")
    with pytest.raises(InputError, match="line 2: byte 0xff is not UTF-8"):
        encode_to_temporary(tmp_path / "text")
    assert os.listdir(tmp_path) == ["text"]
    corpus = encode_to_temporary(tmp_path / "text", "replace")
    assert corpus.type_words()[2:] == ["hen", "\N{REPLACEMENT CHARACTER}"]
