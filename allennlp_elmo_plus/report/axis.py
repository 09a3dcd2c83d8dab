"""Choose the range, the ticks and the labels of the ticks of an axis."""

import math
from collections.abc import Sequence
from typing import NamedTuple

# From this ratio of the largest to the smallest value, small values would all lie on the axis.
_LOGARITHMIC_FROM = 20
# Values that differ by less than this part of the largest one are drawn as equal: their labels would need too many digits.
_SMALLEST_RANGE = 1e-6
# Smaller values are drawn as 0: a float cannot hold a tenth of them.
_SMALLEST = 1e-300
# Labels of more ticks would collide on a narrow screen: on a vertical axis, and on a horizontal one.
MAX_TICKS = 7
MAX_WHOLE_TICKS = 5
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


class Axis(NamedTuple):
    """The range of an axis, its ticks, all inside of the range, and their labels, all different."""

    low: float
    high: float
    ticks: list[float]
    labels: list[str]
    is_logarithmic: bool

    def relative(self, value: float) -> float:
        """Return the position of `value` on the axis: 0 at `low`, 1 at `high`."""
        if self.is_logarithmic:
            return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)


def axis_of(values: Sequence[float]) -> Axis:
    """Return an axis for `values`, logarithmic where they are positive and differ by a factor of 20 or more."""
    low, high = min(values), max(values)
    if low <= 0 or high / low < _LOGARITHMIC_FROM:
        return linear_axis(values)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in ((1, 2, 5), (1,)):
        ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= MAX_TICKS:
            break
    ticks = ticks[:: math.ceil(len(ticks) / MAX_TICKS)]
    return Axis(low / 1.05, high * 1.05, ticks, [label for tick in ticks for label in _labels([tick], tick)], True)


def linear_axis(values: Sequence[float], whole: bool = False) -> Axis:
    """Return a linear axis for `values`; with `whole`, a horizontal one, whose ticks are whole numbers."""
    low, high = min(values), max(values)
    max_ticks = MAX_WHOLE_TICKS if whole else MAX_TICKS
    largest = max(abs(low), abs(high))
    if largest < _SMALLEST:
        low, high, largest = 0.0, 0.0, 0.0
    if high - low <= largest * _SMALLEST_RANGE:
        low, high = low - (largest or 1) * 0.5, high + (largest or 1) * 0.5
    power = math.floor(math.log10((high - low) / max_ticks))
    exponents = (max(power, 0), max(power + 1, 0)) if whole else (power, power + 1)
    steps = [multiple * 10.0**exponent for exponent in exponents for multiple in (1, 2, 5)]
    step = next(step for step in steps if _num_multiples(low, high, step) <= max_ticks)
    ticks = [multiple * step for multiple in range(math.ceil(low / step), math.floor(high / step) + 1)]
    margin = (high - low) * 0.04
    return Axis(low - margin, high + margin, ticks, _labels(ticks, step), False)


def _num_multiples(low: float, high: float, step: float) -> int:
    return math.floor(high / step) - math.ceil(low / step) + 1


def _labels(ticks: Sequence[float], step: float) -> list[str]:
    """Return the labels of `ticks`, multiples of `step`, with as many digits as `step` needs: `1.25k` and `1.30k`."""
    largest = max(map(abs, ticks), default=0.0)
    if largest >= 1e15 or 0 < step < 1e-5:
        return [f"{tick:.9g}" for tick in ticks]
    unit, name = next((unit for unit in _UNITS if largest >= 1e5 and largest >= unit[0]), (1.0, ""))
    decimals = max(0, -math.floor(math.log10(step / unit) + 1e-9))
    return [f"{tick / unit:,.{decimals}f}{name if tick else ''}" for tick in ticks]
