"""The rules for the values of options.json, one per kind of value, and the dataclass field that has a rule."""

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Optional

from allennlp_elmo_plus.errors import InputError, truncated_repr


class Rule(ABC):
    """The rule for the value of an option."""

    def check(self, key: str, value: Any) -> None:
        """Raise an error if `value` is not valid for the option `key`.

        Raises:
            InputError: The value breaks the rule.
        """
        violation = self._violation(value)
        if violation is not None:
            requirement, wrong_value = violation
            raise InputError(f"`{key}` must {requirement}, got {truncated_repr(wrong_value)}")

    @abstractmethod
    def _violation(self, value: Any) -> Optional[tuple[str, Any]]:
        """Return what a valid value must be or hold, and the wrong part of `value`; None if `value` is valid."""


def option(key: str, rule: Rule, default: Any = dataclasses.MISSING, in_bilm_tf: bool = True) -> Any:
    """Return a dataclass field for an option of options.json.

    Args:
        key: The key in options.json, sections joined by dots.
        rule: Checks the value.
        default: The value for a missing key; without a default the option is required.
        in_bilm_tf: Whether bilm-tf has this option too.
    """
    return dataclasses.field(default=default, metadata={"key": key, "rule": rule, "in_bilm_tf": in_bilm_tf})


class Boolean(Rule):
    """True or false."""

    def _violation(self, value: Any) -> Optional[tuple[str, Any]]:
        return None if isinstance(value, bool) else ("be true or false", value)


@dataclass(frozen=True)
class Integer(Rule):
    """A whole number from `low` to `high`."""

    low: int
    high: int

    def whole(self, value: Any) -> Any:
        """Return `value` as an integer if it is a float without a fraction, as some programs write integers; else `value`."""
        return int(value) if _is_whole_float(value) else value

    def _violation(self, value: Any) -> Optional[tuple[str, Any]]:
        if type(value) is int and self.low <= value <= self.high:
            return None
        return f"be a whole number from {self.low} to {self.high}", value


@dataclass(frozen=True)
class Number(Rule):
    """A finite number below 1e30, at least `low` (greater than `low` with `above`) and below `below`."""

    low: float
    above: bool = False
    below: Optional[float] = None

    def _violation(self, value: Any) -> Optional[tuple[str, Any]]:
        is_valid = type(value) in (int, float) and self.low <= value < 1e30
        if is_valid and not (self.above and value == self.low) and (self.below is None or value < self.below):
            return None
        upper_bound = "" if self.below is None else f" and below {self.below}"
        return f"be a number {'above' if self.above else 'at least'} {self.low}{upper_bound}", value


class Choice(Rule):
    """One of `choices`."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices

    def _violation(self, value: Any) -> Optional[tuple[str, Any]]:
        return None if value in self.choices else (f"be one of {', '.join(self.choices)}", value)


@dataclass(frozen=True)
class Filters(Rule):
    """At most `max_filters` pairs [width, number], each number at most `max_number`."""

    max_filters: int
    max_number: int

    def whole(self, value: Any) -> Any:
        """Return `value` with an integer for each float without a fraction in its pairs; `value` itself without such a float."""
        pairs = value if isinstance(value, (list, tuple)) else ()
        if not any(isinstance(pair, (list, tuple)) and any(map(_is_whole_float, pair)) for pair in pairs):
            return value
        return [
            [int(item) if _is_whole_float(item) else item for item in pair] if isinstance(pair, (list, tuple)) else pair
            for pair in pairs
        ]

    def _violation(self, value: Any) -> Optional[tuple[str, Any]]:
        if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= self.max_filters:
            return f"be a list of 1 to {self.max_filters} pairs [width, number]", value
        for pair in value:
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                return "hold pairs [width, number]", pair
            width, number = pair
            if type(width) is not int or width < 1 or type(number) is not int or not 1 <= number <= self.max_number:
                return f"hold pairs of a width of at least 1 and a number from 1 to {self.max_number}", pair
        return None


def _is_whole_float(value: Any) -> bool:
    return type(value) is float and value.is_integer()
