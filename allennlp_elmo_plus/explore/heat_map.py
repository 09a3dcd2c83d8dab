"""Draw a table of numbers as a heat map in SVG."""

from collections.abc import Sequence
from html import escape
from typing import Optional

import numpy as np

_CELL = 24
_LETTER = 7.5
# A longer word ends in dots.
_MAX_LETTERS = 14


def heat_map(values: np.ndarray, rows: Sequence[str], columns: Optional[Sequence[str]]) -> str:
    """Return a heat map of `values`, (n, m): the larger the value, the darker the cell.

    The scale runs from the smallest to the largest value, of words with other words only: the diagonal of a sentence with itself
    is 1 in any case. The exact value of a cell is its tooltip.

    Args:
        values: the similarity of each row and each column.
        rows: the words of the n rows.
        columns: the words of the m columns; None for the words of the rows.
    """
    others = values if columns is not None else values[~np.eye(len(values), dtype=bool)]
    if not others.size:
        others = values
    low, high = float(others.min()), float(others.max())
    names = rows if columns is None else columns
    left, top = (_LETTER * max(min(len(word), _MAX_LETTERS) for word in words) + 8 for words in (rows, names))
    parts = []
    for number, word in enumerate(rows):
        y = top + number * _CELL
        parts.append(f'<text x="{left - 6:.0f}" y="{y + 17:.0f}" text-anchor="end">{_short(word)}</text>')
        for position, name in enumerate(names):
            value = float(values[number, position])
            opacity = min(1.0, max(0.0, (value - low) / (high - low or 1.0)))
            parts.append(
                f'<rect class="c0" x="{left + position * _CELL:.0f}" y="{y:.0f}" width="{_CELL}" height="{_CELL}" '
                f'fill-opacity="{opacity:.3f}"><title>{escape(word)}, {escape(name)}: {value:.3f}</title></rect>'
            )
    for position, name in enumerate(names):
        x = left + position * _CELL + 17
        parts.append(f'<text transform="translate({x:.0f} {top - 6:.0f}) rotate(-90)">{_short(name)}</text>')
    width, height = left + len(names) * _CELL + 1, top + len(rows) * _CELL + 1
    return (
        f'<div class="wide"><svg width="{width:.0f}" height="{height:.0f}" role="img" aria-label="similarity of words">'
        f'{"".join(parts)}</svg></div><p class="soft">Cosine, from {low:.2f} (light) to {high:.2f} (dark)</p>'
    )


def _short(word: str) -> str:
    return escape(word if len(word) <= _MAX_LETTERS else f"{word[: _MAX_LETTERS - 1]}…")
