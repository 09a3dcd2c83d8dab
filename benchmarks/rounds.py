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


class Turn(NamedTuple):
    """Seconds a run, of the runs in one turn."""

    mean: float
    fastest: float


@dataclass(frozen=True)
class Contender:
    """
    run: does the job once. Where `times_itself` it returns the seconds the job took, or a `Turn`, which a child process knows
    better: the time it takes to start is not the job's. Otherwise what it returns is dropped.
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
) -> dict[str, list[Turn]]:
    """
    The turns of each contender, by name, one a round, each of as many runs as fill `min_seconds`.

    Each contender runs once beforehand, outside of all rounds, and once more to find how many runs that is; one that
    `times_itself` starts afresh each time and does without.
    """
    if rounds < 1:
        raise ValueError(f"`rounds` must be at least 1, got {rounds}")
    names = [contender.name for contender in contenders]
    if len(set(names)) < len(names):
        raise ValueError(f"contenders must have different names, got {names}")
    runs = {contender.name: _runs_a_sample(contender, min_seconds, clock) for contender in contenders}
    turns: dict[str, list[Turn]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            sample = [_run_once(contender, clock) for _ in range(runs[contender.name])]
            # Not the median: where a host gives processors out by slices of a second, half of all short runs wait for none, and as
            # many for a whole one, and which of them the median is says nothing of the job.
            mean = statistics.fmean(run.mean for run in sample)
            turns[contender.name].append(Turn(mean, min(run.fastest for run in sample)))
    return turns


def _runs_a_sample(contender: Contender, min_seconds: float, clock: Callable[[], float]) -> int:
    if contender.times_itself:
        return 1
    seconds = _run_once(contender, clock).mean
    if seconds < min_seconds:
        # The first run may have compiled something, or filled a cache.
        seconds = _run_once(contender, clock).mean
    return max(1, round(min_seconds / max(seconds, 1e-6)))


def _run_once(contender: Contender, clock: Callable[[], float]) -> Turn:
    if contender.prepare is not None:
        contender.prepare()
    started = clock()
    result = contender.run()
    if contender.times_itself:
        return result if isinstance(result, Turn) else Turn(result, result)
    seconds = clock() - started
    return Turn(seconds, seconds)


def paired_ratio(seconds: Sequence[float], others: Sequence[float]) -> float:
    """The median over rounds of `seconds` / `others`."""
    return statistics.median(mine / theirs for mine, theirs in zip(seconds, others, strict=True))


def spread(values: Sequence[float]) -> float:
    """The distance of the quartiles as a share of the median: how much rounds differ; 0 for a single one."""
    if len(values) < 2:
        return 0.0
    lower, middle, upper = statistics.quantiles(values, n=4, method="inclusive")
    return (upper - lower) / middle
