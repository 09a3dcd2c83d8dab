from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.data.batching import epoch_order, lane_reader
from allennlp_elmo_plus.data.batching.lane_plan import LanePlan
from allennlp_elmo_plus.data.batching.lane_reader import LaneReader

BOS, EOS = 0, 1

LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=40).filter(any)

# The size of a block outside of these tests, which use smaller blocks.
WHOLE_BLOCK = epoch_order.BLOCK_SENTENCES


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    """Several blocks and chunks in texts small enough to compare by hand."""
    with patch.object(epoch_order, "BLOCK_SENTENCES", 7), patch.object(lane_reader, "CHUNK_POSITIONS", 60):
        yield


def text_of(lengths):
    """Return sentences of these lengths, in which no word occurs twice, and the offsets and tokens of their corpus."""
    offsets = np.append(0, np.cumsum(lengths))
    tokens = np.arange(2, 2 + offsets[-1], dtype=np.uint32)
    return [tokens[begin:end].tolist() for begin, end in zip(offsets, offsets[1:], strict=False)], offsets, tokens


def order_of(plan):
    return np.concatenate([plan.sentences(block_index) for block_index in range(len(plan.blocks))]).tolist()


def rows_of(windows, num_rows):
    """Return the four streams of each row over all windows, without padding."""
    rows = []
    for row in range(num_rows):
        streams = [[], [], [], []]
        for window in windows:
            for stream, values in zip(streams, window[1:5], strict=True):
                stream.extend(values[row, : window.lengths[row]].tolist())
        rows.append(streams)
    return rows


def streams_of(sentence):
    words = [*sentence, EOS]
    mirrored = [*sentence[::-1], BOS]
    return [BOS, *words[:-1]], words, [EOS, *mirrored[:-1]], mirrored


def lanes_by_definition(sentences, order, num_lanes):
    """Return the streams of each lane by the definition: cut at the boundaries nearest to equal shares, the longest lane first."""
    boundaries = [0]
    for number in order:
        boundaries.append(boundaries[-1] + len(sentences[number]) + 1)
    total = boundaries[-1]
    cuts = [0]
    for lane in range(1, num_lanes):
        share = lane * total // num_lanes
        cuts.append(min(range(len(boundaries)), key=lambda k: (abs(boundaries[k] - share), k)))
    cuts.append(len(order))
    rows = []
    for begin, end in zip(cuts, cuts[1:], strict=False):
        row = [[], [], [], []]
        for number in order[begin:end]:
            for stream, values in zip(row, streams_of(sentences[number]), strict=True):
                stream.extend(values)
        rows.append(row)
    return sorted(rows, key=lambda row: -len(row[0]))


@given(LENGTHS, st.integers(1, 9), st.integers(1, 6), st.booleans(), st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_lanes_are_those_of_the_definition(lengths, num_lanes, num_steps, shuffle, epoch):
    sentences, offsets, tokens = text_of(lengths)
    plan = LanePlan(offsets, num_lanes, num_steps, shuffle, 5, epoch)
    windows = list(LaneReader(tokens, plan))
    expected = lanes_by_definition(sentences, order_of(plan), num_lanes)
    assert rows_of(windows, num_lanes) == expected
    assert plan.lane_lengths.tolist() == [len(row[0]) for row in expected]
    assert [window.number for window in windows] == list(range(plan.num_windows))


@given(LENGTHS, st.integers(1, 9), st.integers(1, 6), st.booleans())
@settings(max_examples=100, deadline=None)
def test_every_word_is_a_target_once_in_each_direction(lengths, num_lanes, num_steps, shuffle):
    sentences, offsets, tokens = text_of(lengths)
    plan = LanePlan(offsets, num_lanes, num_steps, shuffle, 5, 0)
    windows = list(LaneReader(tokens, plan))
    boundary_of_stream = (BOS, EOS, EOS, BOS)
    for stream, boundary in enumerate(boundary_of_stream):
        values = [int(value) for row in rows_of(windows, num_lanes) for value in row[stream]]
        assert sorted(values) == [boundary] * len(sentences) + tokens.tolist()
    assert plan.num_positions == len(tokens) + len(sentences)


@given(LENGTHS, st.integers(1, 3), st.integers(1, 4), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_each_process_weighs_as_much_as_its_share_of_the_targets(lengths, num_lanes, num_processes, num_steps):
    _, offsets, tokens = text_of(lengths)
    plan = LanePlan(offsets, num_lanes * num_processes, num_steps, True, 5, 0)
    readers = [LaneReader(tokens, plan, range(rank, plan.num_lanes, num_processes)) for rank in range(num_processes)]
    for windows in zip(*readers, strict=True):
        num_targets = [int(window.lengths.sum()) for window in windows]
        weights = [window.loss_weight for window in windows]
        if sum(num_targets) == plan.num_lanes * num_steps:
            assert weights == [None] * num_processes
        else:
            shares = [number / sum(num_targets) for number in num_targets]
            assert weights == pytest.approx([share * num_processes for share in shares])


@given(LENGTHS, st.integers(1, 9), st.integers(1, 6))
@settings(max_examples=100, deadline=None)
def test_windows_are_full_except_at_the_ends_of_lanes(lengths, num_lanes, num_steps):
    _, offsets, tokens = text_of(lengths)
    plan = LanePlan(offsets, num_lanes, num_steps, True, 5, 0)
    windows = list(LaneReader(tokens, plan))
    assert len(windows) == plan.num_windows == -(-plan.lane_lengths.max() // num_steps)
    for window in windows:
        lengths_left = np.clip(plan.lane_lengths - window.number * num_steps, 0, num_steps)
        assert window.lengths.tolist() == lengths_left.tolist()
        assert (np.diff(window.lengths) <= 0).all() and window.lengths[0] > 0
        for stream in window[1:5]:
            assert stream.shape == (num_lanes, num_steps) and stream.dtype == np.int64
            assert not stream[np.arange(num_steps) >= window.lengths[:, None]].any()


@given(LENGTHS, st.integers(1, 5), st.integers(1, 4), st.booleans(), st.integers(0, 20))
@settings(max_examples=100, deadline=None)
def test_a_later_start_skips_windows(lengths, num_lanes, num_steps, shuffle, start):
    _, offsets, tokens = text_of(lengths)
    plan = LanePlan(offsets, num_lanes, num_steps, shuffle, 5, 0)
    skipped = list(LaneReader(tokens, plan))[start:]
    started = list(LaneReader(tokens, LanePlan(offsets, num_lanes, num_steps, shuffle, 5, 0), start=start))
    assert len(started) == len(skipped)
    for window, expected in zip(started, skipped, strict=True):
        assert all(map(np.array_equal, window, expected))


@given(LENGTHS, st.integers(2, 6), st.integers(1, 4), st.integers(2, 3))
@settings(max_examples=60, deadline=None)
def test_a_reader_of_some_lanes_reads_the_same_as_a_reader_of_all(lengths, num_lanes, num_steps, world_size):
    _, offsets, tokens = text_of(lengths)
    plan = LanePlan(offsets, num_lanes, num_steps, True, 5, 0)
    whole = list(LaneReader(tokens, plan))
    for rank in range(min(world_size, num_lanes)):
        lanes = list(range(rank, num_lanes, world_size))
        windows = list(LaneReader(tokens, plan, lanes))
        assert len(windows) == len(whole)
        for window, expected in zip(windows, whole, strict=True):
            assert all(np.array_equal(rows, all_rows[lanes]) for rows, all_rows in zip(window[1:6], expected[1:6]))


@given(LENGTHS, st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_lanes_are_within_a_sentence_of_an_equal_share(lengths, num_lanes):
    """Each end of a lane is at most half a sentence from an equal share."""
    _, offsets, _ = text_of(lengths)
    plan = LanePlan(offsets, num_lanes, 3, True, 5, 0)
    share = sum(length + 1 for length in lengths) / num_lanes
    assert all(abs(length - share) <= max(lengths) + 1 for length in plan.lane_lengths)


def test_shuffling_depends_on_seed_and_epoch_and_on_nothing_else():
    _, offsets, _ = text_of([2] * 50)
    orders = {
        (seed, epoch): order_of(LanePlan(offsets, 3, 4, True, seed, epoch)) for seed in (1, 2) for epoch in (0, 1, 2)
    }
    assert len(set(map(tuple, orders.values()))) == len(orders)
    for (seed, epoch), order in orders.items():
        assert sorted(order) == list(range(50))
        assert order == order_of(LanePlan(offsets, 4, 9, True, seed, epoch))
    assert order_of(LanePlan(offsets, 3, 4, False, 1, 2)) == list(range(50))


def test_shuffling_moves_sentences_among_blocks_and_inside_them():
    _, offsets, _ = text_of([2] * 49)
    order = np.array(order_of(LanePlan(offsets, 1, 4, True, 1, 0))).reshape(7, 7)
    assert all(len(set(block // 7)) == 1 for block in order)
    assert (np.diff(order[:, 0] // 7) < 0).any()
    assert (np.diff(order) < 0).any(axis=1).sum() > 3


def test_the_order_of_blocks_and_inside_each_block_follows_from_seed_and_epoch(monkeypatch):
    num_blocks, size = 20, 30
    monkeypatch.setattr(epoch_order, "BLOCK_SENTENCES", size)
    _, offsets, _ = text_of([2] * (num_blocks * size))
    orders_of_blocks, orders_inside = [], []
    for seed in (1, 2):
        for epoch in (0, 1, 2):
            order = np.array(order_of(LanePlan(offsets, 1, 4, True, seed, epoch))).reshape(num_blocks, size)
            blocks = order[:, 0] // size
            orders_of_blocks.append(tuple(blocks.tolist()))
            orders_inside += [tuple(row) for row in (order - size * blocks[:, None]).tolist()]
    # Of 20! or 30! orders, two are the same only by a fault.
    assert len(set(orders_of_blocks)) == len(orders_of_blocks) == 6
    assert len(set(orders_inside)) == len(orders_inside) == 6 * num_blocks
    assert all(sorted(order) == list(range(size)) for order in orders_inside)


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_text_of_several_whole_blocks_is_read_once(monkeypatch, shuffle):
    monkeypatch.setattr(epoch_order, "BLOCK_SENTENCES", WHOLE_BLOCK)
    num_sentences = 2 * WHOLE_BLOCK + 5
    plan = LanePlan(np.arange(num_sentences + 1), 1, 4, shuffle, 1, 0)
    order = np.array(order_of(plan))
    assert np.array_equal(np.sort(order), np.arange(num_sentences))
    # About half of all neighbours change places when a block is shuffled.
    num_falling = np.count_nonzero(np.diff(order) < 0)
    assert 0.4 * num_sentences < num_falling < 0.6 * num_sentences if shuffle else num_falling == 0


@pytest.mark.parametrize("num_words", [4, 5, 6, 7])
def test_a_lane_that_would_begin_in_the_middle_of_a_sentence_begins_with_it(num_words):
    """The equal share of two lanes ends in the second of three sentences, in the middle if its number of positions is even."""
    _, offsets, _ = text_of([num_words] * 3)
    plan = LanePlan(offsets, 2, 4, False, 0, 0)
    assert plan.lane_starts.tolist() == [num_words + 1, 0]
    assert plan.lane_lengths.tolist() == [2 * (num_words + 1), num_words + 1]


def test_a_blank_line_is_one_target():
    _, offsets, tokens = text_of([0, 1, 0])
    windows = list(LaneReader(tokens, LanePlan(offsets, 1, 8, False, 0, 0)))
    assert rows_of(windows, 1) == [[[0, 0, 2, 0], [1, 2, 1, 1], [1, 1, 2, 1], [0, 2, 0, 0]]]


def test_fewer_sentences_than_lanes_leave_the_last_lanes_empty():
    _, offsets, tokens = text_of([3, 3])
    plan = LanePlan(offsets, 5, 2, False, 0, 0)
    assert plan.lane_lengths.tolist() == [4, 4, 0, 0, 0]
    assert [window.lengths.tolist() for window in LaneReader(tokens, plan)] == [[2, 2, 0, 0, 0]] * 2


def test_one_long_sentence_stays_in_its_lane():
    sentences, offsets, tokens = text_of([2, 1000, 2])
    plan = LanePlan(offsets, 4, 20, False, 0, 0)
    # All equal shares end in the long sentence, so the lanes are cut at its ends.
    assert plan.lane_lengths.tolist() == [1001, 3, 3, 0]
    assert plan.num_windows == 51
    rows = rows_of(list(LaneReader(tokens, plan)), 4)
    assert rows == lanes_by_definition(sentences, [0, 1, 2], 4)


@pytest.mark.parametrize(
    "name, value, least",
    [("num_lanes", 0, 1), ("num_steps", 0, 1), ("seed", -1, 0), ("epoch", -1, 0)],
)
def test_refuses_numbers_out_of_range(name, value, least):
    arguments = {"num_lanes": 2, "num_steps": 2, "shuffle": True, "seed": 0, "epoch": 0, name: value}
    with pytest.raises(ValueError, match=f"`{name}` must be at least {least}, got {value}"):
        LanePlan(np.array([0, 3]), **arguments)


def test_reader_refuses_a_negative_start_and_lanes_out_of_order():
    plan = LanePlan(np.array([0, 3]), 2, 2, False, 0, 0)
    tokens = np.arange(2, 5, dtype=np.uint32)
    with pytest.raises(ValueError, match="`start` must be at least 0, got -1"):
        LaneReader(tokens, plan, start=-1)
    with pytest.raises(ValueError, match=r"`lanes` must rise, got \[1, 0\]"):
        LaneReader(tokens, plan, lanes=[1, 0])


@pytest.mark.parametrize("shuffle", [False, True])
def test_sentences_are_more_than_16_bits_count(shuffle):
    num_sentences = (1 << 16) + 500
    with patch.object(epoch_order, "BLOCK_SENTENCES", WHOLE_BLOCK):
        plan = LanePlan(3 * np.arange(num_sentences + 1), 4, 64, shuffle, 0, 0)
    sentences = np.concatenate([plan.sentences(block) for block in range(len(plan.blocks))])
    assert np.array_equal(np.sort(sentences), np.arange(num_sentences))
    assert set(plan.num_positions_of(sentences)) == {4} and plan.lane_lengths.sum() == 4 * num_sentences
