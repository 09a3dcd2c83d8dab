"""
Run contenders in turn, A B C, C B A, A B C, ..., and compare them round by round.

A machine's speed drifts. So ratios are taken within a round, and their median over rounds is reported. Every second round has the
reverse order, so that no contender always comes first. The fastest of all runs is recorded too: it contains the least time of other
programs.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional


class Interval(NamedTuple):
    """Start and end of a run, by `time.perf_counter`."""

    start: float
    end: float


class Turn(NamedTuple):
    """Seconds per run, over the runs of one turn."""

    mean: float
    fastest: float


def no_steal_time(start: float, end: float) -> float:
    """Return 0, the steal time of a machine that is never stopped."""
    return 0.0


@dataclass(frozen=True)
class Contender:
    """
    One way to do a job.

    Attributes:
        run: Does the job once; its result is ignored. With `times_itself` it may do the job several times, and returns the interval of
            each run without the start of a child process.
        amount: Units of work (tokens) in one run; a slow contender may get less work.
        prepare: Called before each run, not timed.
        flops: Floating-point operations in one run, if known.
        limit: The name of the contender that does only the indispensable part of this job.
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
    steal_time: Callable[[float, float], float] = no_steal_time,
) -> dict[str, list[Turn]]:
    """
    Return the turns of each contender, by name, one per round, each with the number of runs that fills `min_seconds`.

    Before the first round each contender runs once or twice, to find that number. A contender that `times_itself` does not need this.
    `steal_time(start, end)` returns the seconds of an interval in which the machine was stopped; they are subtracted.
    """
    if rounds < 1:
        raise ValueError(f"`rounds` must be at least 1, got {rounds}")
    names = [contender.name for contender in contenders]
    if len(set(names)) < len(names):
        raise ValueError(f"contenders must have different names, got {names}")

    def run(contender: Contender, times: int = 1) -> list[float]:
        # `steal_time` waits until stops are recorded. So it is called after all runs, and nothing sleeps between them.
        intervals = [interval for _ in range(times) for interval in _run(contender, clock)]
        return [end - start - steal_time(start, end) for start, end in intervals]

    def runs_per_turn(contender: Contender) -> int:
        if contender.times_itself:
            return 1
        (seconds,) = run(contender)
        if seconds < min_seconds:
            # The first run may have compiled code or filled a cache.
            (seconds,) = run(contender)
        return max(1, round(min_seconds / max(seconds, 1e-6)))

    numbers = {contender.name: runs_per_turn(contender) for contender in contenders}
    turns: dict[str, list[Turn]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            seconds = run(contender, numbers[contender.name])
            # The mean, not the median: if several programs share a processor, a short run waits either not at all or for a whole time
            # slice, and the median of such runs depends on chance.
            turns[contender.name].append(Turn(statistics.fmean(seconds), min(seconds)))
    return turns


def _run(contender: Contender, clock: Callable[[], float]) -> list[Interval]:
    if contender.prepare is not None:
        contender.prepare()
    start = clock()
    result = contender.run()
    return result if contender.times_itself else [Interval(start, clock())]


def paired_ratio(seconds: Sequence[float], others: Sequence[float]) -> float:
    """Return the median over rounds of `seconds` / `others`."""
    return statistics.median(own / other for own, other in zip(seconds, others, strict=True))


def spread(values: Sequence[float]) -> float:
    """Return the interquartile range divided by the median; 0 for a single value."""
    if len(values) < 2:
        return 0.0
    lower, middle, upper = statistics.quantiles(values, n=4, method="inclusive")
    return (upper - lower) / middle
