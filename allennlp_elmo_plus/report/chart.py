"""Draw curves and bars as SVG. Colours come from the page by CSS class, so that dark mode works."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 14, 14, 40
NUM_COLOURS = 6
# More points could not be told apart at the width of the chart.
MAX_POINTS = 400
# From this ratio of the largest to the smallest value, small values would all lie on the axis.
_LOGARITHMIC_FROM = 20

_BAR_HEIGHT, _BAR_GAP, _BAR_LABEL_WIDTH, _BAR_VALUE_WIDTH = 22, 10, 120, 70


class Curve(NamedTuple):
    """A name for the legend and the points (x, y)."""

    name: str
    points: list[tuple[float, float]]


class _Axis(NamedTuple):
    low: float
    high: float
    ticks: list[float]
    is_logarithmic: bool

    def relative(self, value: float) -> float:
        """Return the position of `value` on the axis: 0 at `low`, 1 at `high`."""
        if self.is_logarithmic:
            return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)


def line_chart(curves: Sequence[Curve], x_label: str, y_label: str) -> str:
    """Return an `<svg>` of `curves` over one pair of axes, with a legend where there are several.

    Curves of more than MAX_POINTS points are thinned (`thinned`). The y axis is logarithmic, and labelled so, where its values
    are positive and differ by a factor of 20 or more. The result is empty where no curve has a finite point.
    """
    finite = [
        Curve(curve.name, thinned([point for point in curve.points if all(map(math.isfinite, point))]))
        for curve in curves
    ]
    finite = [curve for curve in finite if curve.points]
    if not finite:
        return ""
    x_axis = _linear_axis([x for curve in finite for x, _ in curve.points], whole_ticks=True)
    y_axis = _axis([y for curve in finite for _, y in curve.points])
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
    return picture + (_legend(finite) if len(finite) > 1 else "")


def bar_chart(bars: Sequence[tuple[str, float]]) -> str:
    """Return an `<svg>` of horizontal bars for values from 0 to 1, each with its name and value."""
    height = len(bars) * (_BAR_HEIGHT + _BAR_GAP) + _BAR_GAP
    max_length = WIDTH - _BAR_LABEL_WIDTH - _BAR_VALUE_WIDTH
    parts = []
    for index, (name, value) in enumerate(bars):
        top = _BAR_GAP + index * (_BAR_HEIGHT + _BAR_GAP)
        length = max_length * min(1.0, max(0.0, value)) if math.isfinite(value) else 0.0
        baseline = top + _BAR_HEIGHT * 0.68
        parts.append(
            f'<text class="label" x="{_BAR_LABEL_WIDTH - 8}" y="{baseline:.1f}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="c0" x="{_BAR_LABEL_WIDTH}" y="{top}" width="{length:.1f}" height="{_BAR_HEIGHT}" rx="3"/>'
            f'<text class="label" x="{_BAR_LABEL_WIDTH + length + 8:.1f}" y="{baseline:.1f}">{value:.3f}</text>'
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


def _linear_axis(values: list[float], whole_ticks: bool = False) -> _Axis:
    low, high = min(values), max(values)
    if low == high:
        low, high = low - (abs(low) or 1) * 0.5, high + (abs(high) or 1) * 0.5
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(multiple * power for multiple in (1, 2, 2.5, 5, 10) if multiple * power >= rough * 0.999)
    if whole_ticks:
        step = max(1.0, math.ceil(step))
    ticks = [multiple * step for multiple in range(math.ceil(low / step), math.floor(high / step) + 1)]
    margin = (high - low) * 0.04
    return _Axis(low - margin, high + margin, ticks, False)


def _x(axis: _Axis, value: float) -> float:
    return _LEFT + axis.relative(value) * (WIDTH - _LEFT - _RIGHT)


def _y(axis: _Axis, value: float) -> float:
    return HEIGHT - _BOTTOM - axis.relative(value) * (HEIGHT - _TOP - _BOTTOM)


def _grid(x_axis: _Axis, y_axis: _Axis, x_label: str, y_label: str) -> str:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    parts = []
    for tick in y_axis.ticks:
        y = _y(y_axis, tick)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{format_number(tick)}</text>'
        )
    for tick in x_axis.ticks:
        x = _x(x_axis, tick)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>'
            f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{format_number(tick)}</text>'
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
        f'<span><i class="c{index % NUM_COLOURS}"></i>{escape(curve.name)}</span>' for index, curve in enumerate(curves)
    ]
    return f'<p class="legend">{"".join(entries)}</p>'
