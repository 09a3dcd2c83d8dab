import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.data.batching.lane_plan import LanePlan
from allennlp_elmo_plus.data.batching.lane_reader import LaneReader
from allennlp_elmo_plus.data.batching.sentence_batch import batch_from_sentences
from allennlp_elmo_plus.data.batching.window_batcher import WindowBatcher
from allennlp_elmo_plus.data.text.characters import encode_words

VOCABULARY = {word: number for number, word in enumerate(["<S>", "</S>", "<UNK>", "the", "hen", "sat", "egg"])}
WORDS = ["the", "hen", "sat", "egg", "unheard-of", "zéro", "Donaudampfschifffahrt"]
SENTENCES = st.lists(st.lists(st.sampled_from(WORDS), max_size=6), min_size=1, max_size=12).filter(any)


def padded(sentences, extra=0):
    num_steps = max(map(len, sentences)) + 2 + extra
    characters = torch.zeros(len(sentences), num_steps, 50, dtype=torch.int64)
    word_ids = torch.full((len(sentences), num_steps), -1)
    mask = torch.zeros(len(sentences), num_steps, dtype=torch.bool)
    for row, sentence in enumerate(sentences):
        words = ["<S>", *sentence, "</S>"]
        characters[row, : len(words)] = torch.from_numpy(encode_words(words).astype(np.int64))
        word_ids[row, : len(words)] = torch.tensor([VOCABULARY.get(word, 2) for word in words])
        mask[row, : len(words)] = True
    return characters, word_ids, mask


@given(SENTENCES, st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_sentences_are_read_from_either_end(sentences, extra):
    batch = batch_from_sentences(*padded(sentences, extra))
    assert sorted(batch.row_order.tolist()) == list(range(len(sentences)))
    assert not batch.carries_state
    assert batch.batch_sizes == batch.mask.sum(dim=0).tolist()
    assert (batch.lengths.diff() <= 0).all()
    for row, number in enumerate(batch.row_order.tolist()):
        words = ["<S>", *sentences[number], "</S>"]
        for inputs, targets, read in (
            (batch.forward_inputs, batch.forward_targets, words),
            (batch.backward_inputs, batch.backward_targets, words[::-1]),
        ):
            mask = batch.mask[row]
            assert targets[row, mask].tolist() == [VOCABULARY.get(word, 2) for word in read[1:]]
            np.testing.assert_array_equal(batch.characters[inputs[row, mask]], encode_words(read[:-1]))
            assert batch.word_ids[inputs[row, mask]].tolist() == [VOCABULARY.get(word, 2) for word in read[:-1]]
            assert not inputs[row, ~mask].any() and not targets[row, ~mask].any()


def test_sentences_and_lanes_agree_on_a_text_of_one_sentence(encode):
    sentence = ["the", "hen", "sat", "the", "egg"]
    corpus = encode([sentence])
    (window,) = LaneReader(corpus.tokens, LanePlan(corpus.offsets, 1, 6, False, 0, 0))
    lanes = WindowBatcher(corpus, corpus.vocabulary_ids(VOCABULARY))(window)
    alone = batch_from_sentences(*padded([sentence]))
    assert torch.equal(lanes.forward_targets, alone.forward_targets)
    assert torch.equal(lanes.backward_targets, alone.backward_targets)
    for inputs in ("forward_inputs", "backward_inputs"):
        assert torch.equal(lanes.characters[getattr(lanes, inputs)], alone.characters[getattr(alone, inputs)])
    assert lanes.batch_sizes == alone.batch_sizes == [1] * 6
    assert lanes.characters.dtype == alone.characters.dtype


def test_words_truncated_to_the_same_characters_keep_their_own_ids():
    characters, word_ids, mask = padded([["x" * 60 + "a", "x" * 60 + "b"]])
    word_ids[0, 1:3] = torch.tensor([5, 6])
    batch = batch_from_sentences(characters, word_ids, mask)
    assert batch.word_ids[batch.forward_inputs].tolist() == [[0, 5, 6]]


def test_sentences_that_cannot_be_read_are_refused():
    characters, word_ids, mask = padded([["the", "hen"], ["the"]])
    with pytest.raises(ValueError, match=r"must agree on B and T, got \(2, 4, 50\), \(2, 3\) and \(2, 4\)"):
        batch_from_sentences(characters, word_ids[:, :3], mask)
    holes = mask.clone()
    holes[0, 1] = False
    with pytest.raises(ValueError, match="`mask` must be True from the left end"):
        batch_from_sentences(characters, word_ids, holes)
    short = mask.clone()
    short[1, 1:] = False
    with pytest.raises(ValueError, match="at least <S> and </S>, 2 words, got 1"):
        batch_from_sentences(characters, word_ids, short)
    with pytest.raises(ValueError, match="2 words, got no sentence at all"):
        batch_from_sentences(characters[:0], word_ids[:0], mask[:0])
