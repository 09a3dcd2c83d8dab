"""
Contenders in turn: A B C, C B A, A B C, ... and how they compare round by round.

A machine's speed drifts. What ran a minute apart is not compared; what ran in the same round is, and of those ratios the median
is taken. The order turns round from round to round, so that no contender always comes first. The fastest run of all is kept too:
where others use the machine at the same time, it alone says what the job takes.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional


class Interval(NamedTuple):
    """From when to when a run took, by `time.perf_counter`."""

    start: float
    end: float


class Turn(NamedTuple):
    """Seconds a run, of the runs in one turn."""

    mean: float
    fastest: float


def never_halted(start: float, end: float) -> float:
    """Of a machine that stands still at no time."""
    return 0.0


@dataclass(frozen=True)
class Contender:
    """
    run: does the job once. Where `times_itself` it may do so several times, and returns the interval of each: what it takes to
    start a child process is not the job's. Otherwise what it returns is dropped.
    amount: units of work (tokens) in one run, so that contenders may be given less of a job that is slow for them.
    prepare: called, untimed, before each run.
    flops: floating-point operations in one run, where the job is known by them.
    limit: name of the contender that does nothing but what this one cannot do without.
    """

    name: str
    run: Callable[[], Any]
    amount: float = 1.0
    prepare: Optional[Callable[[], Any]] = None
    flops: Optional[float] = None
    limit: Optional[str] = None
    times_itself: bool = False


def alternate(
    contenders: Sequence[Contender],
    rounds: int,
    min_seconds: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
    halted: Callable[[float, float], float] = never_halted,
) -> dict[str, list[Turn]]:
    """
    The turns of each contender, by name, one a round, each of as many runs as fill `min_seconds`.

    Each contender runs once beforehand, outside of all rounds, and once more to find how many runs that is; one that
    `times_itself` starts afresh each time and does without. `halted(start, end)` says how many seconds of an interval the machine
    stood still, which are nobody's.
    """
    if rounds < 1:
        raise ValueError(f"`rounds` must be at least 1, got {rounds}")
    names = [contender.name for contender in contenders]
    if len(set(names)) < len(names):
        raise ValueError(f"contenders must have different names, got {names}")

    def run(contender: Contender, times: int = 1) -> list[float]:
        # What asks for halts waits for them to be written down: once all runs are over, between which nothing should sleep.
        intervals = [interval for _ in range(times) for interval in _run(contender, clock)]
        return [end - start - halted(start, end) for start, end in intervals]

    def runs_a_turn(contender: Contender) -> int:
        if contender.times_itself:
            return 1
        (seconds,) = run(contender)
        if seconds < min_seconds:
            # The first run may have compiled something, or filled a cache.
            (seconds,) = run(contender)
        return max(1, round(min_seconds / max(seconds, 1e-6)))

    numbers = {contender.name: runs_a_turn(contender) for contender in contenders}
    turns: dict[str, list[Turn]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            seconds = run(contender, numbers[contender.name])
            # Not the median: where processors are given out by slices, half of all short runs wait for none, and as many for a
            # whole one, and which of them the median is says nothing of the job.
            turns[contender.name].append(Turn(statistics.fmean(seconds), min(seconds)))
    return turns


def _run(contender: Contender, clock: Callable[[], float]) -> list[Interval]:
    if contender.prepare is not None:
        contender.prepare()
    start = clock()
    result = contender.run()
    return result if contender.times_itself else [Interval(start, clock())]


def paired_ratio(seconds: Sequence[float], others: Sequence[float]) -> float:
    """The median over rounds of `seconds` / `others`."""
    return statistics.median(mine / theirs for mine, theirs in zip(seconds, others, strict=True))


def spread(values: Sequence[float]) -> float:
    """The distance of the quartiles as a share of the median: how much rounds differ; 0 for a single one."""
    if len(values) < 2:
        return 0.0
    lower, middle, upper = statistics.quantiles(values, n=4, method="inclusive")
    return (upper - lower) / middle
