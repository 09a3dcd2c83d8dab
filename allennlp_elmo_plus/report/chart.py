"""Draw curves and bars as SVG. Colours come from the page by CSS class, so that dark mode works."""

import math
import sys
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from allennlp_elmo_plus.report.axis import Axis, axis_of, linear_axis
from allennlp_elmo_plus.report.html import NUM_COLOURS

WIDTH, HEIGHT = 560, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 20, 32, 54
# More points could not be told apart at the width of the chart.
MAX_POINTS = 400

_BAR_HEIGHT, _BAR_GAP, _BAR_VALUE_WIDTH = 22, 10, 70

# A chart is as wide as its card. In the half as wide card of a phone, text is twice as large.
STYLE = """
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--text); font: 13px system-ui, sans-serif; }
svg .tick { fill: var(--soft); font-size: 12px; } .grid { stroke: var(--line); } .axis { stroke: var(--soft); }
@media (max-width: 30rem) { svg text, svg .tick { font-size: 20px; } svg .grid, svg .axis { stroke-width: 1.5; } }
.curve { stroke-width: 2; stroke-linejoin: round; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .85rem; }
.legend i { display: inline-block; width: 1.1em; height: .35em; margin-right: .4em; border-radius: 2px; vertical-align: middle; }
""" + "".join(f"svg .curve.c{number} {{ fill: none; stroke: var(--c{number}); }}\n" for number in range(NUM_COLOURS))


class Curve(NamedTuple):
    """A name for the legend and the points (x, y)."""

    name: str
    points: list[tuple[float, float]]


def line_chart(curves: Sequence[Curve], x_label: str, y_label: str) -> str:
    """Return an `<svg>` of `curves` over one pair of axes, with a legend where there are several.

    A curve has the colour of its position in `curves`. Curves of more than MAX_POINTS points are thinned (`thinned`). A
    logarithmic y axis (see `axis_of`) is labelled so. The result is empty where no curve has a finite point.
    """
    finite = [
        Curve(curve.name, thinned([point for point in curve.points if all(map(math.isfinite, point))]))
        for curve in curves
    ]
    points = [point for curve in finite for point in curve.points]
    if not points:
        return ""
    x_axis = linear_axis([x for x, _ in points], whole=True)
    y_axis = axis_of([y for _, y in points])
    y_label += " (logarithmic)" if y_axis.is_logarithmic else ""
    parts = [_grid(x_axis, y_axis, x_label, y_label)]
    for index, curve in enumerate(finite):
        colour = f"c{index % NUM_COLOURS}"
        positions = [(_x(x_axis, x), _y(y_axis, y)) for x, y in curve.points]
        if len(positions) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in positions)
            parts.append(f'<polyline class="curve {colour}" points="{path}"/>')
        if len(positions) <= 30:
            for (x, y), (x_value, y_value) in zip(positions, curve.points, strict=True):
                text = escape(f"{curve.name}: {format_number(y_value)} at {format_number(x_value)}")
                parts.append(
                    f'<circle class="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"><title>{text}</title></circle>'
                )
    picture = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(y_label)} by {escape(x_label)}">'
        f"{''.join(parts)}</svg>"
    )
    return picture + _legend(finite)


def bar_chart(bars: Sequence[tuple[str, float]], label_width: int = 120) -> str:
    """Return an `<svg>` of horizontal bars for values from 0 to 1, each with its name, at most `label_width` wide, and its value."""
    height = len(bars) * (_BAR_HEIGHT + _BAR_GAP) + _BAR_GAP
    max_length = WIDTH - label_width - _BAR_VALUE_WIDTH
    parts = []
    for index, (name, value) in enumerate(bars):
        top = _BAR_GAP + index * (_BAR_HEIGHT + _BAR_GAP)
        length = max_length * min(1.0, max(0.0, value)) if math.isfinite(value) else 0.0
        baseline = top + _BAR_HEIGHT * 0.68
        parts.append(
            f'<text class="label" x="{label_width - 8}" y="{baseline:.1f}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="c0" x="{label_width}" y="{top}" width="{length:.1f}" height="{_BAR_HEIGHT}" rx="3"/>'
            f'<text class="label" x="{label_width + length + 8:.1f}" y="{baseline:.1f}">{value:.3f}</text>'
        )
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="bars">{"".join(parts)}</svg>'


def thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at most MAX_POINTS points, each the mean of an equal number of neighbouring `points`."""
    if len(points) <= MAX_POINTS:
        return points
    size = math.ceil(len(points) / MAX_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def format_number(value: float) -> str:
    """Return `value` as text: whole and large numbers with thousands separators, others with four significant digits."""
    if not abs(value) <= sys.float_info.max:
        return str(value)
    if abs(value) >= 1e15:
        return f"{value:.4g}"
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    # With one digit as every other number of this size: 122.0, not 122.
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.4g}"


def _x(axis: Axis, value: float) -> float:
    return _LEFT + axis.relative(value) * (WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float) -> float:
    return HEIGHT - _BOTTOM - axis.relative(value) * (HEIGHT - _TOP - _BOTTOM)


def _grid(x_axis: Axis, y_axis: Axis, x_label: str, y_label: str) -> str:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    parts = [f'<text class="label" x="2" y="16">{escape(y_label)}</text>']
    for tick, label in zip(y_axis.ticks, y_axis.labels, strict=True):
        y = _y(y_axis, tick)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{_LEFT - 7}" y="{y + 5:.1f}" text-anchor="end">{label}</text>'
        )
    for tick, label in zip(x_axis.ticks, x_axis.labels, strict=True):
        x = _x(x_axis, tick)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>'
            f'<text class="tick" x="{x:.1f}" y="{bottom + 19}" text-anchor="middle">{label}</text>'
        )
    parts.append(
        f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>'
        f'<line class="axis" x1="{_LEFT}" x2="{_LEFT}" y1="{_TOP}" y2="{bottom}"/>'
        f'<text class="label" x="{(_LEFT + right) / 2}" y="{HEIGHT - 5}" text-anchor="middle">{escape(x_label)}</text>'
    )
    return "".join(parts)


def _legend(curves: Sequence[Curve]) -> str:
    if len(curves) == 1:
        return ""
    entries = [
        f'<span><i class="c{index % NUM_COLOURS}"></i>{escape(curve.name)}</span>'
        for index, curve in enumerate(curves)
        if curve.points
    ]
    return f'<p class="legend">{"".join(entries)}</p>'
