"""Contenders for one job -> a case of a report."""

from collections.abc import Sequence
from typing import Optional

from .report import Case, Figures
from .rounds import Contender, alternate, paired_ratio
from .settings import Settings


def compare(label: str, contenders: Sequence[Optional[Contender]], settings: Settings) -> Case:
    """
    Runs `contenders` in turn; None stands for one that is not at hand. Each but the first, and but those that are limits, gets
    its ratio to the first: time for the same amount of work. Each with a `limit` gets its share of it: the limit's time / its
    own.
    """
    present = [contender for contender in contenders if contender is not None]
    seconds = alternate(present, settings.rounds, settings.min_seconds)
    no_rivals = {present[0].name, *(contender.limit for contender in present)}
    per_unit = {
        contender.name: [sample / contender.amount for sample in seconds[contender.name]] for contender in present
    }

    def figures(contender: Contender) -> Figures:
        mine = per_unit[contender.name]
        return Figures(
            contender.name,
            seconds[contender.name],
            amount=contender.amount,
            flops=contender.flops,
            ratio=None if contender.name in no_rivals else paired_ratio(mine, per_unit[present[0].name]),
            share_of_limit=None if contender.limit is None else paired_ratio(per_unit[contender.limit], mine),
        )

    return Case(label, [figures(contender) for contender in present])
