"""Seconds per batch, with a clock that the test sets."""

import pytest

from allennlp_elmo_plus.training import batch_timer
from allennlp_elmo_plus.training.batch_timer import BatchTimer


def test_the_warm_up_batches_do_not_count(monkeypatch):
    now = [50.0]
    monkeypatch.setattr(batch_timer.time, "perf_counter", lambda: now[0])
    timer = BatchTimer(num_warm_up=2)
    for seconds, expected in ((9, None), (7, None), (1, 1.0), (2, 1.5), (6, 3.0)):
        now[0] += seconds
        timer.batch_done()
        assert timer.seconds_per_batch() == expected
    assert timer.num_measured == 3


def test_a_timer_without_warm_up_is_refused():
    with pytest.raises(ValueError, match="^`num_warm_up` must be at least 1, got 0$"):
        BatchTimer(num_warm_up=0)
