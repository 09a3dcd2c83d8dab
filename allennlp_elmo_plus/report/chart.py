"""Curves and bars as SVG. Colours are the page's, by CSS class, so that it can be read in the dark too."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 14, 14, 40
NUM_COLOURS = 6
# More points than the chart is wide could not be told apart.
MAX_POINTS = 400
# From this ratio of the largest to the smallest on, small values would all lie on the axis.
_LOGARITHMIC_FROM = 20

_BAR_HEIGHT, _BAR_GAP, _BAR_LABEL = 22, 10, 120


class Curve(NamedTuple):
    name: str
    points: list[tuple[float, float]]


class _Axis(NamedTuple):
    low: float
    high: float
    ticks: list[float]
    is_logarithmic: bool

    def place(self, value: float) -> float:
        """0 at `low`, 1 at `high`."""
        if self.is_logarithmic:
            return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)


def line_chart(curves: Sequence[Curve], x_label: str, y_label: str) -> str:
    """An `<svg>` of the curves over one pair of axes, with a legend where there are several; an empty string where no curve has a
    finite point. Long curves are drawn through the means of equal numbers of points; an axis of positive values that differ much
    is logarithmic, and says so.
    """
    drawn = [
        Curve(curve.name, thinned([point for point in curve.points if all(map(math.isfinite, point))]))
        for curve in curves
    ]
    drawn = [curve for curve in drawn if curve.points]
    if not drawn:
        return ""
    x_axis = _linear_axis([x for curve in drawn for x, _ in curve.points], only_whole=True)
    y_axis = _axis([y for curve in drawn for _, y in curve.points])
    y_label += " (logarithmic)" if y_axis.is_logarithmic else ""
    parts = [_grid(x_axis, y_axis, x_label, y_label)]
    for number, curve in enumerate(drawn):
        colour = f"c{number % NUM_COLOURS}"
        places = [(_x(x_axis, x), _y(y_axis, y)) for x, y in curve.points]
        if len(places) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            parts.append(f'<polyline class="curve {colour}" points="{path}"/>')
        if len(places) <= 30:
            for (x, y), (x_value, y_value) in zip(places, curve.points, strict=True):
                text = escape(f"{curve.name}: {number_in_words(y_value)} at {number_in_words(x_value)}")
                parts.append(
                    f'<circle class="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"><title>{text}</title></circle>'
                )
    picture = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(y_label)} by {escape(x_label)}">'
        f"{''.join(parts)}</svg>"
    )
    return picture + (_legend(drawn) if len(drawn) > 1 else "")


def bar_chart(bars: Sequence[tuple[str, float]]) -> str:
    """An `<svg>` of horizontal bars for values from 0 to 1, each with its name and value."""
    height = len(bars) * (_BAR_HEIGHT + _BAR_GAP) + _BAR_GAP
    room = WIDTH - _BAR_LABEL - 70
    parts = []
    for number, (name, value) in enumerate(bars):
        top = _BAR_GAP + number * (_BAR_HEIGHT + _BAR_GAP)
        length = room * min(1.0, max(0.0, value)) if math.isfinite(value) else 0.0
        middle = top + _BAR_HEIGHT * 0.68
        parts.append(
            f'<text class="label" x="{_BAR_LABEL - 8}" y="{middle:.1f}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="c0" x="{_BAR_LABEL}" y="{top}" width="{length:.1f}" height="{_BAR_HEIGHT}" rx="3"/>'
            f'<text class="label" x="{_BAR_LABEL + length + 8:.1f}" y="{middle:.1f}">{value:.3f}</text>'
        )
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="bars">{"".join(parts)}</svg>'


def thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most MAX_POINTS points: each the mean of as many neighbours."""
    if len(points) <= MAX_POINTS:
        return points
    size = math.ceil(len(points) / MAX_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def number_in_words(value: float) -> str:
    """Four digits at most of what is small, whole numbers with commas of what is large."""
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _axis(values: list[float]) -> _Axis:
    low, high = min(values), max(values)
    if low <= 0 or high / low < _LOGARITHMIC_FROM:
        return _linear_axis(values)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if last - first <= 3 else (1,)
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    inside = [tick for tick in ticks if low <= tick <= high]
    return _Axis(low / 1.05, high * 1.05, inside, True)


def _linear_axis(values: list[float], only_whole: bool = False) -> _Axis:
    low, high = min(values), max(values)
    if low == high:
        low, high = low - (abs(low) or 1) * 0.5, high + (abs(high) or 1) * 0.5
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(multiple * power for multiple in (1, 2, 2.5, 5, 10) if multiple * power >= rough * 0.999)
    if only_whole:
        step = max(1.0, math.ceil(step))
    ticks = [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
    margin = (high - low) * 0.04
    return _Axis(low - margin, high + margin, ticks, False)


def _x(axis: _Axis, value: float) -> float:
    return _LEFT + axis.place(value) * (WIDTH - _LEFT - _RIGHT)


def _y(axis: _Axis, value: float) -> float:
    return HEIGHT - _BOTTOM - axis.place(value) * (HEIGHT - _TOP - _BOTTOM)


def _grid(x_axis: _Axis, y_axis: _Axis, x_label: str, y_label: str) -> str:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    parts = []
    for tick in y_axis.ticks:
        y = _y(y_axis, tick)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{number_in_words(tick)}</text>'
        )
    for tick in x_axis.ticks:
        x = _x(x_axis, tick)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>'
            f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{number_in_words(tick)}</text>'
        )
    parts.append(
        f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>'
        f'<line class="axis" x1="{_LEFT}" x2="{_LEFT}" y1="{_TOP}" y2="{bottom}"/>'
        f'<text class="label" x="{(_LEFT + right) / 2}" y="{HEIGHT - 5}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text class="label" transform="translate(13 {(_TOP + bottom) / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>"
    )
    return "".join(parts)


def _legend(curves: Sequence[Curve]) -> str:
    entries = [
        f'<span><i class="c{number % NUM_COLOURS}"></i>{escape(curve.name)}</span>'
        for number, curve in enumerate(curves)
    ]
    return f'<p class="legend">{"".join(entries)}</p>'
