from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.data.batching import epoch_order
from allennlp_elmo_plus.data.batching.sentence_plan import SentencePlan, SentenceReader

BOS, EOS = 0, 1
LENGTHS = st.lists(st.integers(0, 30), min_size=1, max_size=60).filter(any)


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    """Several blocks in texts small enough to compare by hand."""
    with patch.object(epoch_order, "BLOCK_SENTENCES", 13):
        yield


def offsets_of(lengths):
    return np.append(0, np.cumsum(lengths))


def plan_of(lengths, batch_tokens=20, shuffle=True, seed=5, epoch=0):
    return SentencePlan(offsets_of(lengths), batch_tokens, shuffle, seed, epoch)


def lists(plan, start=0):
    return [batch.tolist() for batch in plan.batches(start)]


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, batch_tokens=st.integers(1, 70), shuffle=st.booleans(), epoch=st.integers(0, 3))
def test_every_sentence_is_in_one_batch_that_is_neither_too_large_nor_mostly_padding(
    lengths, batch_tokens, shuffle, epoch
):
    plan = plan_of(lengths, batch_tokens, shuffle, epoch=epoch)
    batches = lists(plan)
    assert sorted(number for batch in batches for number in batch) == list(range(len(lengths)))
    assert plan.num_windows == len(batches) == plan_of(lengths, batch_tokens, not shuffle, seed=1, epoch=7).num_windows
    for batch in batches:
        positions = [lengths[number] + 1 for number in batch]
        assert positions == sorted(positions, reverse=True)
        assert len(batch) == 1 or len(batch) * positions[0] <= batch_tokens
        assert 2 * positions[-1] >= positions[0]
        assert 2 * sum(positions) > len(batch) * positions[0]


@settings(max_examples=30, deadline=None)
@given(lengths=LENGTHS, start=st.integers(0, 70), shuffle=st.booleans())
def test_a_reader_can_start_at_any_window(lengths, start, shuffle):
    plan = plan_of(lengths, shuffle=shuffle)
    tokens = np.arange(2, 2 + sum(lengths), dtype=np.uint32)
    whole, rest = list(SentenceReader(tokens, plan)), list(SentenceReader(tokens, plan, start))
    assert [window.number for window in whole] == list(range(plan.num_windows))
    assert len(rest) == max(0, len(whole) - start)
    for expected, window in zip(whole[start:], rest, strict=True):
        assert window.number == expected.number and all(map(np.array_equal, window[1:6], expected[1:6]))


@settings(max_examples=30, deadline=None)
@given(lengths=LENGTHS, shuffle=st.booleans())
def test_windows_hold_whole_sentences_in_both_reading_orders(lengths, shuffle):
    offsets, tokens = offsets_of(lengths), np.arange(2, 2 + sum(lengths), dtype=np.uint32)
    plan = plan_of(lengths, shuffle=shuffle)
    for window, batch in zip(SentenceReader(tokens, plan), plan.batches(), strict=True):
        assert not window.carries_state
        assert window.forward_inputs.shape == (len(batch), lengths[batch[0]] + 1)
        for row, number in enumerate(batch):
            words = tokens[offsets[number] : offsets[number + 1]].tolist()
            padding = [0] * (window.forward_inputs.shape[1] - len(words) - 1)
            assert window.lengths[row] == len(words) + 1
            assert window.forward_inputs[row].tolist() == [BOS, *words] + padding
            assert window.forward_targets[row].tolist() == [*words, EOS] + padding
            assert window.backward_inputs[row].tolist() == [EOS, *words[::-1]] + padding
            assert window.backward_targets[row].tolist() == [*words[::-1], BOS] + padding


def test_the_order_follows_from_seed_and_epoch_alone():
    lengths = [3, 4, 5] * 20
    orders = {(seed, epoch): lists(plan_of(lengths, seed=seed, epoch=epoch)) for seed in (1, 2) for epoch in (0, 1)}
    assert all(order == lists(plan_of(lengths, seed=seed, epoch=epoch)) for (seed, epoch), order in orders.items())
    assert len({str(order) for order in orders.values()}) == 4
    unshuffled = [lists(plan_of(lengths, shuffle=False, seed=seed, epoch=seed)) for seed in (1, 2)]
    assert unshuffled[0] == unshuffled[1]


def test_shuffling_moves_blocks_batches_and_sentences_of_one_length():
    plan = plan_of([3] * 52, batch_tokens=12)
    batches = lists(plan)
    # 13 sentences per block and 3 per batch: 5 batches per block, the last of one sentence.
    blocks = [{number // 13 for batch in batches[first : first + 5] for number in batch} for first in range(0, 20, 5)]
    assert all(len(block) == 1 for block in blocks) and blocks != sorted(blocks, key=min)
    assert any(len(batch) == 1 for first in range(0, 20, 5) for batch in batches[first : first + 4])
    assert any(batch != list(range(batch[0], batch[0] + len(batch))) for batch in batches)
    unshuffled = lists(plan_of([3] * 52, batch_tokens=12, shuffle=False))
    assert [number for batch in unshuffled for number in batch] == list(range(52))


def test_the_order_of_blocks_and_of_sentences_of_one_length_follows_from_seed_and_epoch(monkeypatch):
    num_blocks, size = 20, 60
    monkeypatch.setattr(epoch_order, "BLOCK_SENTENCES", size)
    orders_of_blocks, pairings = [], []
    for seed in (1, 2):
        for epoch in (0, 1):
            batches = lists(plan_of([3] * (num_blocks * size), batch_tokens=8, seed=seed, epoch=epoch))
            # Batches of two, sorted here: only the pairs of sentences differ.
            in_blocks = np.sort(np.array(batches), axis=1).reshape(num_blocks, size // 2, 2)
            blocks = in_blocks[:, 0, 0] // size
            orders_of_blocks.append(tuple(blocks.tolist()))
            pairings += [str(sorted(pairs)) for pairs in (in_blocks - size * blocks[:, None, None]).tolist()]
    assert len(set(orders_of_blocks)) == len(orders_of_blocks) == 4
    assert len(set(pairings)) == len(pairings) == 4 * num_blocks


def test_the_batches_of_each_block_have_a_separate_order(monkeypatch):
    num_blocks, size = 20, 30
    monkeypatch.setattr(epoch_order, "BLOCK_SENTENCES", size)
    # All sentences of a block differ in length, so the length identifies a batch of one sentence.
    lengths = list(range(1, size + 1)) * num_blocks
    orders = []
    for seed in (1, 2):
        for epoch in (0, 1):
            batches = lists(plan_of(lengths, batch_tokens=1, seed=seed, epoch=epoch))
            orders += [tuple(row) for row in (np.array(batches).reshape(num_blocks, size) % size).tolist()]
    assert len(set(orders)) == len(orders) == 4 * num_blocks


@pytest.mark.parametrize("longest", [4, 5, 6, 7])
def test_a_sentence_below_half_the_longest_begins_another_batch(longest):
    """Half of an odd number of positions is rounded up."""
    half = (longest + 1) // 2
    positions = [longest, half, half - 1]
    assert lists(plan_of([number - 1 for number in positions], batch_tokens=100, shuffle=False)) == [[0, 1], [2]]


def test_a_sentence_longer_than_a_batch_is_a_batch():
    assert lists(plan_of([2, 50, 2, 40], batch_tokens=10, shuffle=False)) == [[1], [3], [0, 2]]


@pytest.mark.parametrize("name, value, least", [("batch_tokens", 0, 1), ("seed", -1, 0), ("epoch", -1, 0)])
def test_refuses_numbers_out_of_range(name, value, least):
    with pytest.raises(ValueError, match=f"`{name}` must be at least {least}, got {value}"):
        plan_of([3], **{name: value})


def test_a_reader_refuses_a_negative_start():
    with pytest.raises(ValueError, match="`start` must be at least 0, got -1"):
        SentenceReader(np.arange(2, 5), plan_of([3]), start=-1)


@pytest.mark.parametrize("num_processes", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("start", [0, 1, 2])
def test_processes_share_the_batches_of_a_single_process(num_processes: int, start: int) -> None:
    plan = plan_of([3, 5, 4, 2, 7, 7, 1, 3, 6, 2, 4, 9, 5])
    tokens = np.arange(2, 2 + 70)
    whole = list(SentenceReader(tokens, plan))
    shares = [list(SentenceReader(tokens, plan, start, rank, num_processes)) for rank in range(num_processes)]
    assert {len(share) for share in shares} == {max(0, -(-len(whole) // num_processes) - start)}
    windows = sorted((window for share in shares for window in share), key=lambda window: window.number)
    numbers = [window.number for window in windows]
    assert numbers == list(range(start * num_processes, start * num_processes + len(numbers)))
    for window, expected in zip(windows, whole[start * num_processes :]):
        assert all(map(np.array_equal, window[:-1], expected[:-1]))
    for window in windows[max(0, len(whole) - start * num_processes) :]:
        assert window.lengths.tolist() == [0] and window.forward_inputs.shape == (1, 1) and not window.carries_state


@pytest.mark.parametrize("num_processes", [1, 2, 3, 4, 7])
def test_batches_of_a_step_weigh_the_same_and_empty_windows_nothing(num_processes: int) -> None:
    plan = plan_of([3, 5, 4, 2, 7, 7, 1, 3, 6, 2, 4, 9, 5])
    tokens = np.arange(2, 2 + 70)
    readers = [SentenceReader(tokens, plan, 0, rank, num_processes) for rank in range(num_processes)]
    for windows in zip(*readers, strict=True):
        num_batches = sum(window.lengths[0] > 0 for window in windows)
        weights = [window.loss_weight for window in windows]
        if num_batches == num_processes:
            assert weights == [None] * num_processes
        else:
            assert weights == [num_processes / num_batches * (window.lengths[0] > 0) for window in windows]
