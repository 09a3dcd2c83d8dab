"""Compare contenders for one job, as a case of a report."""

import statistics
import sys
from collections.abc import Sequence
from typing import Optional

from .report import Case, Figures, duration
from .rounds import Contender, alternate, paired_ratio
from .settings import Settings


def compare(label: str, contenders: Sequence[Optional[Contender]], settings: Settings) -> Case:
    """
    Run `contenders` in turn and return their figures; None stands for a contender that is not available.

    Every contender except the first one and the limits gets its ratio to the first: the time for the same amount of work. Every
    contender with a `limit` gets its share of the limit: the limit's time divided by its own.
    """
    present = [contender for contender in contenders if contender is not None]
    turns = alternate(present, settings.rounds, settings.min_seconds, steal_time=settings.steal_time)
    without_ratio = {present[0].name, *(contender.limit for contender in present)}
    seconds = {
        contender.name: [turn.mean / contender.amount for turn in turns[contender.name]] for contender in present
    }
    fastest = {
        contender.name: min(turn.fastest for turn in turns[contender.name]) / contender.amount for contender in present
    }
    first = present[0].name

    def figures(contender: Contender) -> Figures:
        name, limit = contender.name, contender.limit
        has_ratio = name not in without_ratio
        return Figures(
            name,
            [turn.mean for turn in turns[name]],
            fastest=fastest[name] * contender.amount,
            amount=contender.amount,
            flops=contender.flops,
            ratio=paired_ratio(seconds[name], seconds[first]) if has_ratio else None,
            ratio_of_fastest=fastest[name] / fastest[first] if has_ratio else None,
            share_of_limit=None if limit is None else paired_ratio(seconds[limit], seconds[name]),
            share_of_limit_fastest=None if limit is None else fastest[limit] / fastest[name],
        )

    case = Case(label, [figures(contender) for contender in present])
    # Printed now: a benchmark may be stopped hours later, before it prints its table.
    medians = (f"{line.contender} {duration(statistics.median(line.seconds))}" for line in case.figures)
    print(f"{label}: {', '.join(medians)}", file=sys.stderr, flush=True)
    return case
