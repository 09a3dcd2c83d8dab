import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.data.batching.lane_plan import LanePlan
from allennlp_elmo_plus.data.batching.lane_reader import LaneReader
from allennlp_elmo_plus.data.batching.negatives import LogUniformSampler
from allennlp_elmo_plus.data.batching.window_batcher import WindowBatcher
from allennlp_elmo_plus.data.text.characters import PADDING_ID, encode_words

VOCABULARY = {word: number for number, word in enumerate(["<S>", "</S>", "<UNK>", "the", "hen", "sat", "egg"])}
WORDS = ["the", "hen", "sat", "egg", "unheard-of", "zéro", "Donaudampfschifffahrt"]
SENTENCES = st.lists(st.lists(st.sampled_from(WORDS), max_size=6), min_size=1, max_size=12).filter(any)


def many_words(num_sentences=60):
    return [[f"w{'o' * (n % 13)}{n * k}" for k in range(n % 7 + 1)] for n in range(num_sentences)]


def batches_of(corpus, num_lanes, num_steps, sampler=None, epoch=0, start=0, seed=3):
    plan = LanePlan(corpus.offsets, num_lanes, num_steps, True, 3, epoch)
    batcher = WindowBatcher(corpus, corpus.vocabulary_ids(VOCABULARY), sampler, seed=seed, epoch=epoch)
    windows = list(LaneReader(corpus.tokens, plan, start=start))
    return windows, [batcher(window) for window in windows]


@given(SENTENCES, st.integers(1, 4), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_a_batch_spells_and_numbers_the_words_of_its_window(encode, sentences, num_lanes, num_steps):
    corpus = encode(sentences)
    type_words = corpus.type_words()
    for window, batch in zip(*batches_of(corpus, num_lanes, num_steps), strict=True):
        mask = np.arange(num_steps) < window.lengths[:, None]
        np.testing.assert_array_equal(batch.mask, mask)
        for rows, types in (
            (batch.forward_inputs, window.forward_inputs),
            (batch.backward_inputs, window.backward_inputs),
        ):
            words = [type_words[number] for number in types[mask]]
            np.testing.assert_array_equal(batch.characters[rows[batch.mask]], encode_words(words))
            assert batch.word_ids[rows[batch.mask]].tolist() == [VOCABULARY.get(word, 2) for word in words]
            assert not rows[~batch.mask].any()
        for targets, types in (
            (batch.forward_targets, window.forward_targets),
            (batch.backward_targets, window.backward_targets),
        ):
            assert targets[batch.mask].tolist() == [VOCABULARY.get(type_words[number], 2) for number in types[mask]]
            assert not targets[~batch.mask].any()
        inputs = np.concatenate([window.forward_inputs[mask], window.backward_inputs[mask]])
        assert len(batch.characters) == len(set(inputs.tolist()))
        assert batch.batch_sizes == [size for size in mask.sum(axis=0).tolist() if size]
        assert batch.carries_state and batch.row_order is None


def test_the_dtypes_of_a_batch_are_those_documented(encode):
    _, (batch, *_) = batches_of(encode([["the", "hen"]]), 1, 2)
    assert batch.characters.dtype == torch.int16
    for name in "word_ids forward_inputs backward_inputs forward_targets backward_targets lengths".split():
        assert getattr(batch, name).dtype == torch.int64, name


def test_there_is_a_bucket_for_each_length_of_word(encode):
    corpus = encode(many_words())
    _, batches = batches_of(corpus, 16, 10)
    batch = max(batches, key=lambda batch: len(batch.characters))
    lengths = (batch.characters != PADDING_ID).sum(dim=1)
    assert (lengths.diff() >= 0).all()
    assert len(batch.buckets) == len(set(lengths.tolist())) and batch.buckets[-1][0] == len(lengths)
    begin = 0
    for end, length in batch.buckets:
        assert begin < end
        assert set(lengths[begin:end].tolist()) == {length}
        begin = end


def test_a_truncated_word_fills_all_columns(encode):
    _, (batch, *_) = batches_of(encode([["x" * 43, "x" * 90, "the"]]), 1, 4)
    # `</S>` and `<S>` take 3 positions, "the" takes 5.
    assert batch.buckets == [(2, 3), (3, 5), (4, 45), (5, 50)]


def test_a_window_without_a_word_has_a_table_of_one_word(encode):
    corpus = encode([["the", "hen", "sat"], ["egg"]])
    plan = LanePlan(corpus.offsets, 3, 2, False, 3, 0)
    assert plan.lane_lengths[2] == 0
    batcher = WindowBatcher(corpus, corpus.vocabulary_ids(VOCABULARY))
    for window in LaneReader(corpus.tokens, plan, lanes=[2]):
        batch = batcher(window)
        assert batch.characters.shape == (1, 50) and batch.batch_sizes == [] and not batch.mask.any()


def test_negatives_follow_from_seed_epoch_window_and_direction(encode):
    corpus = encode(many_words())
    sampler = LogUniformSampler(500, 20)

    def drawn(epoch, start=0, seed=3):
        batches = batches_of(corpus, 2, 5, sampler, epoch, start, seed)[1]
        return [(b.forward_negatives.ids.tolist(), b.backward_negatives.ids.tolist()) for b in batches]

    first = drawn(0)
    assert drawn(0, start=4) == first[4:]
    every = [tuple(ids) for seed in (3, 4) for epoch in (0, 1) for pair in drawn(epoch, seed=seed) for ids in pair]
    assert len(set(every)) == len(every)


def test_without_a_sampler_there_are_no_negatives(encode):
    _, (batch, *_) = batches_of(encode([["the"]]), 1, 2)
    assert batch.forward_negatives is None and batch.backward_negatives is None
