"""Draw the accuracy of a biLM on minimal pairs as a page of bars."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from allennlp_elmo_plus.inference.scoring.minimal_pairs import Accuracy
from allennlp_elmo_plus.report.chart import STYLE, bar_chart
from allennlp_elmo_plus.report.html import document, section

_LABEL_WIDTH = 330


class Block(NamedTuple):
    """A part of a table: its title, and the accuracy by the name of the row, at least one."""

    title: str
    rows: Mapping[str, Accuracy]


def pairs_page(model: str, blocks: Sequence[Block]) -> str:
    """Return a page with a chart for each block and score; `model` is the name of the biLM."""
    parts = [
        f"<h1>Minimal pairs: {escape(model)}</h1>",
        '<p class="soft">The share of the pairs whose acceptable sentence is more probable; 0.5 is chance.</p>',
    ]
    for block in blocks:
        cards = [
            f'<div class="card"><h3>{escape(score)}</h3>{bar_chart(_bars(block, score), _LABEL_WIDTH)}</div>'
            for score in next(iter(block.rows.values())).correct
        ]
        parts.append(section(block.title, "charts", cards))
    return document("Minimal pairs", STYLE, parts)


def _bars(block: Block, score: str) -> list[tuple[str, float]]:
    return [(name, row.correct[score]) for name, row in block.rows.items()]
