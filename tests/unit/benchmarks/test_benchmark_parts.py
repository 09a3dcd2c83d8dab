"""The parts of the benchmarks: rounds of timing, counts of work, generated text, memory of a child process."""

import os
import signal
import time
from collections import Counter

import numpy as np
import pytest

from allennlp_elmo_plus.data.text.characters import encode_words
from benchmarks.measurement import peak_memory
from benchmarks.measurement.rounds import Contender, Interval, alternate, paired_ratio, spread
from benchmarks.measurement.steal_time import StealTimeWatch, overlap_seconds
from benchmarks.workloads.products import Products, count_ngrams
from benchmarks.workloads.sample_text import read_sentences, spell, write_text


class FakeClock:
    """A clock that only its jobs advance. `log` has the names of the jobs that ran."""

    def __init__(self):
        self.now = 0.0
        self.log = []

    def __call__(self):
        return self.now

    def job(self, name, durations):
        remaining = iter(durations)

        def run():
            self.log.append(name)
            self.now += next(remaining)

        return run


def test_contenders_run_in_turns_and_the_order_is_reversed_in_every_second_round():
    clock = FakeClock()
    contenders = [Contender(name, clock.job(name, [1.0] * 4)) for name in "ABC"]
    alternate(contenders, rounds=3, clock=clock)
    assert "".join(clock.log) == "ABC" + "ABC" + "CBA" + "ABC"


def test_the_ratio_is_the_median_of_the_ratios_within_each_round():
    # The speed of the machine changes between the rounds. The ratio of the two medians would be 12 / 3.
    clock = FakeClock()
    ours = Contender("ours", clock.job("ours", [5.0, 1.0, 9.0, 3.0]))
    theirs = Contender("theirs", clock.job("theirs", [5.0, 2.0, 18.0, 12.0]))
    turns = alternate([ours, theirs], rounds=3, clock=clock)
    seconds = {name: [turn.mean for turn in turns_of_name] for name, turns_of_name in turns.items()}
    assert seconds == {"ours": [1.0, 9.0, 3.0], "theirs": [2.0, 18.0, 12.0]}
    assert paired_ratio(seconds["theirs"], seconds["ours"]) == 2.0


def test_a_short_job_is_repeated_until_its_turn_is_long_enough_and_the_mean_is_reported():
    clock = FakeClock()
    # A warm-up, one run that tells how many runs fill a second, then four runs, one of which is slow.
    job = Contender("ours", clock.job("ours", [0.75, 0.25, 0.25, 1.25, 0.25, 0.25]))
    assert alternate([job], rounds=1, min_seconds=1.0, clock=clock) == {"ours": [(0.5, 0.25)]}
    assert len(clock.log) == 6


def test_preparation_is_not_timed_and_a_job_may_time_itself():
    clock = FakeClock()
    prepared = Contender("prepared", clock.job("run", [1.0] * 2), prepare=clock.job("prepare", [50.0] * 2))
    itself = Contender("itself", lambda: [Interval(1.0, 8.0)], times_itself=True)
    assert alternate([prepared, itself], rounds=1, clock=clock) == {"prepared": [(1.0, 1.0)], "itself": [(7.0, 7.0)]}
    assert clock.log == ["prepare", "run"] * 2


def test_the_fastest_run_of_a_turn_is_reported():
    clock = FakeClock()
    job = Contender("ours", clock.job("ours", [2.0, 2.0, 2.0, 3.0, 1.0]))
    assert alternate([job], rounds=1, min_seconds=6.0, clock=clock) == {"ours": [(2.0, 1.0)]}
    itself = Contender("ours", lambda: [Interval(1.0, 3.0), Interval(3.0, 7.0)], times_itself=True)
    assert alternate([itself], rounds=1) == {"ours": [(3.0, 2.0)]}


def test_steal_time_is_subtracted():
    stops = np.array([[2.0, 3.0], [4.0, 9.0]])
    itself = Contender("ours", lambda: [Interval(1.0, 5.0), Interval(8.0, 12.0)], times_itself=True)
    turns = alternate([itself], rounds=1, steal_time=lambda start, end: overlap_seconds(stops, start, end))
    assert turns == {"ours": [(2.5, 2.0)]}


@pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="the system has no real-time priorities")
def test_a_stopped_machine_is_detected():
    with StealTimeWatch() as watch:
        if not watch.watching:
            pytest.skip("no right to real-time priority")
        # Stopping the watching process looks like a stop of the whole machine.
        start = time.perf_counter()
        os.kill(watch._process.pid, signal.SIGSTOP)
        time.sleep(0.3)
        os.kill(watch._process.pid, signal.SIGCONT)
        end = time.perf_counter()
        assert 0.25 < watch.within(start, end) < end - start
        assert watch.within(start, start) == 0.0
    assert watch.within(start, end) == 0.0


def test_invalid_rounds_and_names_are_refused():
    with pytest.raises(ValueError, match="`rounds` must be at least 1, got 0"):
        alternate([Contender("ours", int)], rounds=0)
    with pytest.raises(ValueError, match="different names"):
        alternate([Contender("ours", int), Contender("ours", int)], rounds=1)


def test_the_spread_is_the_interquartile_range_divided_by_the_median():
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 3)
    assert spread([4.0]) == 0.0


def test_a_matrix_product_counts_two_flops_per_multiply_add_and_three_times_with_its_backward_pass():
    assert Products([(2, 3, 5), (7, 1, 1)]).flops == 2 * (30 + 7)
    assert Products([(2, 3, 5), (7, 1, 1)], backward=True).flops == 3 * 2 * (30 + 7)


def test_character_ngrams_are_counted():
    # Begin-of-word, a, end-of-word, padding: a 2-gram starts at each of the four; the last one is padding only.
    assert count_ngrams(encode_words(["a"], 6), 2) == 4
    assert count_ngrams(encode_words(["a", "ab"], 6), 2) == 6


def test_generated_text_is_reproducible_and_repeats_no_number(tmp_path):
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    assert write_text(first, 5_000) == write_text(second, 5_000) == 5_000
    assert first.read_bytes() == second.read_bytes()
    counts = Counter(word for sentence in read_sentences(first, 5_000) for word in sentence)
    assert sum(counts.values()) == 5_000
    numbers = [word for word in counts if word.isdigit()]
    assert len(numbers) > 20 and all(counts[number] == 1 for number in numbers)
    assert counts[spell(0)] > counts[spell(9)] > counts[spell(200)]
    assert len({spell(rank) for rank in range(10_000)}) == 10_000


def test_peak_memory_is_that_of_the_child_since_the_start_of_the_meter():
    parent_memory = b"x" * (64 << 20)
    peak = peak_memory.peak_of("tests.unit.benchmarks.peak_memory_jobs:allocate", 1, num_bytes=32 << 20)
    assert len(parent_memory) == 64 << 20 and peak.result == 32 << 20
    # A block may begin with pages that were in use before.
    assert 31 << 20 <= peak.peak_bytes < 40 << 20
    peak = peak_memory.peak_of("tests.unit.benchmarks.peak_memory_jobs:allocate_after_start", 1, num_bytes=32 << 20)
    # A block may begin with pages that were in use before.
    assert 31 << 20 <= peak.peak_bytes < 40 << 20


def test_a_child_that_fails_raises_an_error_with_its_traceback():
    with pytest.raises(
        RuntimeError, match="tests.unit.benchmarks.peak_memory_jobs:absent ended with status 1(.|\n)*no attribute"
    ):
        peak_memory.peak_of("tests.unit.benchmarks.peak_memory_jobs:absent", 1)
