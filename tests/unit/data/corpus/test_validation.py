"""Damage to the files of an encoded corpus, and the message for it."""

import os

import numpy as np
import pytest

from allennlp_elmo_plus.data.corpus.encoded_corpus import ARRAY_TYPES, encode_text
from allennlp_elmo_plus.data.corpus.validation import validate

COUNTS = "`type_counts` must be how often each type is among `tokens`"
SPELLING = "`type_characters` and `type_lengths` must spell the words of `words.txt`"


@pytest.fixture
def corpus(text, tmp_path):
    """The directory of an encoded corpus: the hen sat / / the egg, as types 2 3 4 / / 2 5."""
    directory = tmp_path / "corpus"
    directory.mkdir()
    encode_text(text, directory)
    return directory


def test_an_encoded_corpus_is_valid(corpus):
    assert validate(corpus, 50) is None


@pytest.mark.parametrize(
    "name, index, value, message",
    [
        ("tokens", 3, 6, "`tokens` must be below the 6 types, got 6"),
        ("tokens", 3, 2**32 - 1, "`tokens` must be below the 6 types, got 4294967295"),
        ("tokens", 3, 3, COUNTS),
        ("type_counts", 0, -1, COUNTS),
        ("offsets", 0, 1, "`offsets` must go from 0 to the 5 tokens, got from 1 to 5"),
        ("offsets", -1, 2**40, "`offsets` must go from 0 to the 5 tokens, got from 0 to 1099511627776"),
        ("offsets", 1, -1, "`offsets` must not fall"),
        ("offsets", 1, 2**62, "`offsets` must not fall"),
        ("type_characters", 0, 0, SPELLING),
        ("type_characters", -1, 9, SPELLING),
        ("type_lengths", 1, 50, SPELLING),
    ],
)
def test_a_wrong_number(corpus, name, index, value, message):
    values = np.fromfile(corpus / name, ARRAY_TYPES[name])
    values[index] = value
    values.tofile(corpus / name)
    assert validate(corpus, 50) == message


@pytest.mark.parametrize(
    "name, num_missing, message",
    [
        ("tokens", 1, COUNTS),
        ("type_characters", 1, "`type_characters` must hold whole rows of 100 bytes, got 598"),
        ("type_characters", 50, SPELLING),
        ("type_characters", -50, "`words.txt` must hold a line for each of the 7 types, got 6"),
    ],
)
def test_an_array_that_is_too_short_or_too_long(corpus, name, num_missing, message):
    values = np.fromfile(corpus / name, ARRAY_TYPES[name])
    np.resize(values, len(values) - num_missing).tofile(corpus / name)
    assert validate(corpus, 50) == message


@pytest.mark.parametrize(
    "content, message",
    [
        (b"<S>\n</S>\nthe\nhen\nsat\negg", "`words.txt` must hold a line for each of the 6 types, got 6"),
        (b"<S>\n</S>\nthe\nhen\nsat\neggs\n", SPELLING),
        (b"<S>\n</S>\nthe\nhen\nsat\n\xff\n", "words.txt, line 6: byte 0xff is not UTF-8"),
        (b"</S>\n<S>\nthe\nhen\nsat\negg\n", "`words.txt` must begin with <S> and </S>"),
        (b"", "`words.txt` must be a file that is not empty"),
    ],
)
def test_wrong_words(corpus, content, message):
    (corpus / "words.txt").write_bytes(content)
    assert validate(corpus, 50) == message


@pytest.mark.parametrize("replace", [lambda path: path.symlink_to("offsets"), os.mkfifo])
def test_a_link_and_a_pipe_are_not_read(corpus, replace):
    (corpus / "tokens").unlink()
    replace(corpus / "tokens")
    assert validate(corpus, 50) == "`tokens` must be a file that is not empty"
