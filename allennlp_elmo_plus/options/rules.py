"""What a value of options.json must be: one rule a kind of value, and the dataclass field that carries it."""

import dataclasses
from typing import Any, Optional

from allennlp_elmo_plus.errors import InputError, truncated_repr


def option(key: str, rule: Any, default: Any = dataclasses.MISSING, in_bilm_tf: bool = True) -> Any:
    """A dataclass field read from `key` of options.json (sections joined by dots) and checked by `rule`; required without
    default. `in_bilm_tf`: whether bilm-tf has this option too.
    """
    return dataclasses.field(default=default, metadata={"key": key, "rule": rule, "in_bilm_tf": in_bilm_tf})


@dataclasses.dataclass(frozen=True)
class Boolean:
    def check(self, key: str, value: Any) -> None:
        if not isinstance(value, bool):
            raise InputError(f"`{key}` must be true or false, got {truncated_repr(value)}")


@dataclasses.dataclass(frozen=True)
class Integer:
    low: int
    high: int

    def whole(self, value: Any) -> Any:
        """`value` as an integer where it is a float without a fraction, as some programs write integers; else `value`."""
        return int(value) if _is_whole_float(value) else value

    def check(self, key: str, value: Any) -> None:
        if type(value) is not int or not self.low <= value <= self.high:
            raise InputError(
                f"`{key}` must be a whole number from {self.low} to {self.high}, got {truncated_repr(value)}"
            )


@dataclasses.dataclass(frozen=True)
class Number:
    """A finite number below 1e30, at least `low` (greater than it with `above`) and below `below`."""

    low: float
    above: bool = False
    below: Optional[float] = None

    def check(self, key: str, value: Any) -> None:
        valid = type(value) in (int, float) and self.low <= value < 1e30
        valid = valid and not (self.above and value == self.low) and (self.below is None or value < self.below)
        if not valid:
            rule = f"{'above' if self.above else 'at least'} {self.low}" + (
                "" if self.below is None else f" and below {self.below}"
            )
            raise InputError(f"`{key}` must be a number {rule}, got {truncated_repr(value)}")


class Choice:
    def __init__(self, *choices: str) -> None:
        self.choices = choices

    def check(self, key: str, value: Any) -> None:
        if value not in self.choices:
            raise InputError(f"`{key}` must be one of {', '.join(self.choices)}, got {truncated_repr(value)}")


@dataclasses.dataclass(frozen=True)
class Filters:
    """Pairs [width, number]."""

    max_filters: int
    max_number: int

    def whole(self, value: Any) -> Any:
        """`value` with an integer for each float without a fraction in its pairs; `value` itself where there is none."""
        pairs = value if isinstance(value, (list, tuple)) else ()
        if not any(isinstance(pair, (list, tuple)) and any(map(_is_whole_float, pair)) for pair in pairs):
            return value
        return [
            [int(each) if _is_whole_float(each) else each for each in pair] if isinstance(pair, (list, tuple)) else pair
            for pair in pairs
        ]

    def check(self, key: str, value: Any) -> None:
        if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= self.max_filters:
            raise InputError(
                f"`{key}` must be a list of 1 to {self.max_filters} pairs [width, number], got {truncated_repr(value)}"
            )
        for pair in value:
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                raise InputError(f"`{key}` must hold pairs [width, number], got {truncated_repr(pair)}")
            width, number = pair
            if type(width) is not int or width < 1 or type(number) is not int or not 1 <= number <= self.max_number:
                raise InputError(
                    f"`{key}` must hold pairs of a width of at least 1 and a number from 1 to {self.max_number}, "
                    f"got {truncated_repr(pair)}"
                )


def _is_whole_float(value: Any) -> bool:
    return type(value) is float and value.is_integer()
