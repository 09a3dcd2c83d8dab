"""Seconds a batch, with the clock in the test's hand."""

import pytest

from allennlp_elmo_plus.training import batch_timer as pace
from allennlp_elmo_plus.training.batch_timer import BatchTimer


def test_the_first_batches_do_not_count(monkeypatch):
    now = [50.0]
    monkeypatch.setattr(pace.time, "perf_counter", lambda: now[0])
    measured = BatchTimer(num_warm_up=2)
    for seconds, expected in ((9, None), (7, None), (1, 1.0), (2, 1.5), (6, 3.0)):
        now[0] += seconds
        measured.batch_done()
        assert measured.seconds_per_batch() == expected
    assert measured.num_measured == 3


def test_there_must_be_a_batch_to_start_from():
    with pytest.raises(ValueError, match="^`num_warm_up` must be at least 1, got 0$"):
        BatchTimer(num_warm_up=0)
