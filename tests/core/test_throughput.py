"""Tokens a second, with the clock in the test's hand."""

import pytest

from allennlp_elmo_plus.core import throughput
from allennlp_elmo_plus.core.throughput import Throughput


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: now[0])
    return now


def test_counts_from_the_first_start(clock):
    counter = Throughput()
    assert counter.tokens_per_second() == 0
    counter.start()
    counter.add(300)
    clock[0] += 2
    counter.start()
    counter.add(100)
    clock[0] += 2
    assert counter.tokens_per_second() == 100


def test_a_batch_faster_than_the_clock_is_no_error(clock):
    counter = Throughput()
    counter.start()
    counter.add(1)
    assert counter.tokens_per_second() > 0


def test_reset_forgets_tokens_and_time(clock):
    counter = Throughput()
    counter.start()
    counter.add(1000)
    clock[0] += 1
    counter.reset()
    assert counter.tokens_per_second() == 0
    counter.start()
    counter.add(10)
    clock[0] += 1
    assert counter.tokens_per_second() == 10
