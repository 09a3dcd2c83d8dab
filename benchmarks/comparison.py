"""Contenders for one job -> a case of a report."""

import statistics
import sys
from collections.abc import Sequence
from typing import Optional

from .report import Case, Figures, duration
from .rounds import Contender, alternate, paired_ratio
from .settings import Settings


def compare(label: str, contenders: Sequence[Optional[Contender]], settings: Settings) -> Case:
    """
    Runs `contenders` in turn; None stands for one that is not at hand. Each but the first, and but those that are limits, gets
    its ratio to the first: time for the same amount of work. Each with a `limit` gets its share of it: the limit's time / its
    own.
    """
    present = [contender for contender in contenders if contender is not None]
    turns = alternate(present, settings.rounds, settings.min_seconds, halted=settings.halted)
    no_rivals = {present[0].name, *(contender.limit for contender in present)}
    seconds = {each.name: [turn.mean / each.amount for turn in turns[each.name]] for each in present}
    fastest = {each.name: min(turn.fastest for turn in turns[each.name]) / each.amount for each in present}
    first = present[0].name

    def figures(contender: Contender) -> Figures:
        name, limit = contender.name, contender.limit
        is_rival = name not in no_rivals
        return Figures(
            name,
            [turn.mean for turn in turns[name]],
            fastest=fastest[name] * contender.amount,
            amount=contender.amount,
            flops=contender.flops,
            ratio=paired_ratio(seconds[name], seconds[first]) if is_rival else None,
            ratio_of_fastest=fastest[name] / fastest[first] if is_rival else None,
            share_of_limit=None if limit is None else paired_ratio(seconds[limit], seconds[name]),
            share_of_limit_fastest=None if limit is None else fastest[limit] / fastest[name],
        )

    case = Case(label, [figures(contender) for contender in present])
    # A benchmark may be stopped hours later, with a table that was never printed.
    told = (f"{each.contender} {duration(statistics.median(each.seconds))}" for each in case.figures)
    print(f"{label}: {', '.join(told)}", file=sys.stderr, flush=True)
    return case
