import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.data.batching.lane_plan import EpochPlan
from allennlp_elmo_plus.data.batching.lane_reader import LaneReader
from allennlp_elmo_plus.data.batching.negatives import LogUniformSampler
from allennlp_elmo_plus.data.batching.prefetch import Prefetcher
from allennlp_elmo_plus.data.batching.sentence_batch import batch_from_sentences
from allennlp_elmo_plus.data.batching.window_batcher import WindowBatcher
from allennlp_elmo_plus.data.corpus.encoded_corpus import encode_to_temporary
from allennlp_elmo_plus.data.text.characters import PADDING_ID, encode_words

VOCABULARY = {word: number for number, word in enumerate(["<S>", "</S>", "<UNK>", "the", "hen", "sat", "egg"])}
WORDS = ["the", "hen", "sat", "egg", "unheard-of", "zéro", "Donaudampfschifffahrt"]
SENTENCES = st.lists(st.lists(st.sampled_from(WORDS), max_size=6), min_size=1, max_size=12).filter(any)


@pytest.fixture(scope="module")
def encode(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"

    def encode(sentences):
        path.write_text("".join(" ".join(sentence) + "\n" for sentence in sentences), encoding="utf-8")
        return encode_to_temporary(path)

    return encode


def many_words(num_sentences=60):
    return [[f"w{'o' * (n % 13)}{n * k}" for k in range(n % 7 + 1)] for n in range(num_sentences)]


def batches_of(corpus, num_lanes, num_steps, sampler=None, epoch=0, start=0, seed=3):
    plan = EpochPlan(corpus.offsets, num_lanes, num_steps, True, 3, epoch)
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


def test_types_of_a_batch_are_the_promised_ones(encode):
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


def test_cut_words_are_as_long_as_there_are_columns(encode):
    _, (batch, *_) = batches_of(encode([["x" * 43, "x" * 90, "the"]]), 1, 4)
    # `</S>` and `<S>` take 3 positions, "the" 5
    assert batch.buckets == [(2, 3), (3, 5), (4, 45), (5, 50)]


def test_a_window_without_a_word_still_has_a_table(encode):
    corpus = encode([["the", "hen", "sat"], ["egg"]])
    plan = EpochPlan(corpus.offsets, 3, 2, False, 3, 0)
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


# Sentences on their own


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
    _, (lanes,) = batches_of(encode([sentence]), 1, 6)
    alone = batch_from_sentences(*padded([sentence]))
    assert torch.equal(lanes.forward_targets, alone.forward_targets)
    assert torch.equal(lanes.backward_targets, alone.backward_targets)
    for inputs in ("forward_inputs", "backward_inputs"):
        assert torch.equal(lanes.characters[getattr(lanes, inputs)], alone.characters[getattr(alone, inputs)])
    assert lanes.batch_sizes == alone.batch_sizes == [1] * 6
    assert lanes.characters.dtype == alone.characters.dtype


def test_words_cut_to_one_spelling_keep_their_own_ids():
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


# Prefetching


def prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name == "bilm-prefetch"]


@pytest.mark.parametrize("depth", [1, 3, 100])
def test_prefetching_changes_nothing(depth):
    prefetcher = Prefetcher(range(50), depth)
    assert list(prefetcher) == list(range(50))
    assert list(prefetcher) == list(range(50))
    assert prefetch_threads() == []


def test_an_exception_comes_after_the_items_before_it():
    def failing():
        yield 1
        yield 2
        raise RuntimeError("no more text")

    seen = []
    with pytest.raises(RuntimeError, match="no more text"):
        for item in Prefetcher(failing(), 5):
            seen.append(item)
    assert seen == [1, 2]
    assert prefetch_threads() == []


@pytest.mark.parametrize("taken", [1, 5])
def test_stopping_early_leaves_no_thread(taken):
    iterator = iter(Prefetcher(iter(int, 1), 2))
    for _ in range(taken):
        next(iterator)
    assert len(prefetch_threads()) == 1
    iterator.close()
    assert prefetch_threads() == []


def test_dropping_the_iterator_leaves_no_thread():
    for item in Prefetcher(iter(int, 1), 2):
        assert item == 0
        break
    assert prefetch_threads() == []


@pytest.mark.parametrize("depth", [1, 4])
def test_no_more_than_depth_items_are_made_ahead(depth):
    made, overtaken = [], threading.Event()

    def source():
        for number in range(20):
            made.append(number)
            if len(made) > depth + 1:
                overtaken.set()
            yield number

    iterator = iter(Prefetcher(source(), depth))
    assert next(iterator) == 0
    # One was taken: depth more may be made. This waits in vain unless there is a fault.
    assert not overtaken.wait(0.2)
    assert len(made) == depth + 1
    iterator.close()


def test_refuses_a_depth_below_one():
    with pytest.raises(ValueError, match="`depth` must be at least 1, got 0"):
        Prefetcher([], 0)
