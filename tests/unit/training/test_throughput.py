"""Tokens per second, with a clock that the test sets."""

import pytest

from allennlp_elmo_plus.training import throughput
from allennlp_elmo_plus.training.throughput import Throughput


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: now[0])
    return now


def test_time_counts_from_the_first_batch(clock):
    counter = Throughput()
    assert counter.tokens_per_second() == 0
    counter.start_batch(300)
    clock[0] += 2
    counter.start_batch(100)
    clock[0] += 2
    assert counter.tokens_per_second() == 100


def test_warm_up_batches_count_only_until_others_follow(clock, monkeypatch):
    monkeypatch.setattr(throughput, "NUM_WARM_UP", 2)
    counter = Throughput()
    # Kernels are compiled in the first batch, and memory is allocated in the second.
    for seconds, expected in ((20, 15), (10, 20), (3, 100), (2, 120)):
        counter.start_batch(300)
        clock[0] += seconds
        assert counter.tokens_per_second() == expected
    counter.reset()
    counter.start_batch(300)
    clock[0] += 2
    # The second epoch needs no warm-up.
    counter.start_batch(300)
    clock[0] += 1
    counter.start_batch(300)
    clock[0] += 1
    assert counter.tokens_per_second() == 225


def test_a_batch_of_zero_seconds_is_not_an_error(clock):
    counter = Throughput()
    counter.start_batch(1)
    assert counter.tokens_per_second() > 0


def test_reset_starts_tokens_and_time_again(clock):
    counter = Throughput()
    counter.start_batch(1000)
    clock[0] += 1
    counter.reset()
    assert counter.tokens_per_second() == 0
    counter.start_batch(10)
    clock[0] += 1
    assert counter.tokens_per_second() == 10
