"""The parts of the encoder: distinct rows, the layout of sentences, the cache of word vectors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.data.batching import unique_words
from allennlp_elmo_plus.data.batching.sentence_packing import SentenceLayout
from allennlp_elmo_plus.data.batching.unique_words import unique_rows
from allennlp_elmo_plus.modules.word_cache import WordVectorCache

LENGTHS = st.lists(st.integers(0, 6), min_size=1, max_size=6)
ROWS = st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), max_size=30)


@settings(max_examples=50, deadline=None)
@given(rows=ROWS)
def test_unique_rows_are_distinct_and_the_inverse_rebuilds_all_rows(rows):
    tensor = torch.tensor(rows, dtype=torch.int64).reshape(len(rows), 4)
    distinct, inverse = unique_rows(tensor)
    assert torch.equal(distinct[inverse], tensor)
    assert sorted(map(tuple, distinct.tolist())) == sorted(set(map(tuple, rows)))


def test_different_rows_with_the_same_hash_stay_distinct(monkeypatch):
    # With a multiplier of 1, all permutations of a row have the same hash.
    monkeypatch.setattr(unique_words, "pow", lambda *_: 1, raising=False)
    rows = torch.tensor([[1, 2], [2, 1], [1, 2], [3, 0]])
    distinct, inverse = unique_rows(rows)
    assert torch.equal(distinct[inverse], rows)
    assert len(distinct) == 3


@settings(max_examples=100, deadline=None)
@given(lengths=LENGTHS, extra=st.integers(0, 2))
def test_a_layout_packs_sentences_time_major_and_reverses_each_for_the_backward_direction(lengths, extra):
    num_steps = max(lengths) + extra
    layout = SentenceLayout.of_lengths(lengths, num_steps, torch.device("cpu"))
    # Each word of the batch is a number, each sentence a list of its words with the two boundaries.
    sentences, num_words = [], 0
    for length in lengths:
        sentences.append(["<S>", *range(num_words, num_words + length), "</S>"])
        num_words += length
    words = list(range(num_words)) + ["<S>", "</S>"]
    steps = range(max(map(len, sentences)))
    by_length = sorted(sentences, key=len, reverse=True)
    packed = [sentence[step] for step in steps for sentence in by_length if step < len(sentence)]
    reversed_packed = [sentence[::-1][step] for step in steps for sentence in by_length if step < len(sentence)]
    rows = [words[index] for index in layout.word_of_row.tolist()]
    assert rows == packed
    assert [rows[index] for index in layout.reversal.tolist()] == reversed_packed
    assert layout.batch_sizes == [sum(step < len(sentence) for sentence in sentences) for step in steps]
    assert [sentences[index] for index in layout.order.tolist()] == by_length

    values = torch.arange(1.0, len(rows) + 1).unsqueeze(1)
    padded = layout.unpack(values)
    assert padded.shape == (len(lengths), num_steps, 1)
    with_boundaries = layout.unpack(values, keep_boundaries=True)
    assert with_boundaries.shape == (len(lengths), num_steps + 2, 1)
    for index, sentence in enumerate(sentences):
        unpacked = [0 if value == 0 else rows[int(value) - 1] for value in padded[index, :, 0].tolist()]
        assert unpacked == sentence[1:-1] + [0] * (num_steps + 2 - len(sentence))
        unpacked = [rows[int(value) - 1] for value in with_boundaries[index, : len(sentence), 0].tolist()]
        assert unpacked == sentence
        assert (with_boundaries[index, len(sentence) :] == 0).all()


def doubled(words):
    return torch.from_numpy(words[:, :1].astype(np.float64) * 2)


def test_a_cache_computes_each_word_once_and_holds_at_most_max_words():
    calls = []

    def compute(words):
        calls.append(words[:, 0].tolist())
        return doubled(words)

    cache = WordVectorCache(max_words=4)
    for words in ([1, 2], [2, 3, 1], [3, 4, 5, 6], [6, 4, 1], [1, 2, 3, 4]):
        rows = np.array([[word, 0] for word in words], dtype=np.int16)
        assert torch.equal(cache.vectors(rows, compute), doubled(rows))
    assert calls == [[1, 2], [3], [4, 5, 6], [6]]
    assert len(cache) == 4
    cache.clear()
    assert len(cache) == 0
    assert torch.equal(cache.vectors(rows, compute), doubled(rows))
    assert calls[-1] == [1, 2, 3, 4]


def test_a_cache_of_no_words_is_refused():
    with pytest.raises(ValueError, match="`max_words` must be at least 1, got 0"):
        WordVectorCache(0)
