"""The rules for the values of options.json, one per kind of value, and the dataclass field that has a rule."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Optional

from allennlp_elmo_plus.errors import InputError, truncated_repr


class Rule(NamedTuple):
    """The rule for the value of an option.

    Attributes:
        requirement: What the value must be or hold.
        is_valid: Returns whether a value meets the requirement.
        takes_integers: Whether the value is an integer, or holds integers.
        items: The rule for each item of a value that is a list.
    """

    requirement: str
    is_valid: Callable[[Any], bool]
    takes_integers: bool = False
    items: "Optional[Rule]" = None

    def check(self, key: str, value: Any) -> None:
        """Raise an error if `value` is not valid for the option `key`.

        Raises:
            InputError: The value, or one of its items, breaks the rule.
        """
        if not self.is_valid(value):
            raise InputError(f"`{key}` must {self.requirement}, got {truncated_repr(value)}")
        if self.items is not None:
            for item in value:
                self.items.check(key, item)


BOOLEAN = Rule("be true or false", lambda value: isinstance(value, bool))


def integer(low: int, high: int) -> Rule:
    """Return the rule for a whole number from `low` to `high`."""
    return Rule(
        f"be a whole number from {low} to {high}",
        lambda value: type(value) is int and low <= value <= high,
        takes_integers=True,
    )


def number(low: float, above: bool = False, below: Optional[float] = None) -> Rule:
    """Return the rule for a finite number below 1e30, at least `low` (greater than `low` with `above`) and below `below`."""
    limit = 1e30 if below is None else below
    return Rule(
        f"be a number {'above' if above else 'at least'} {low}" + ("" if below is None else f" and below {below}"),
        lambda value: type(value) in (int, float) and low <= value < limit and not (above and value == low),
    )


def choice(*choices: str) -> Rule:
    """Return the rule for one of `choices`."""
    return Rule(f"be one of {', '.join(choices)}", lambda value: value in choices)


def filters(max_filters: int, max_number: int) -> Rule:
    """Return the rule for at most `max_filters` pairs [width, number], with numbers of at most `max_number`."""

    def is_pair(value: Any) -> bool:
        is_integers = isinstance(value, (list, tuple)) and len(value) == 2 and all(type(item) is int for item in value)
        return is_integers and value[0] >= 1 and 1 <= value[1] <= max_number

    return Rule(
        f"be a list of 1 to {max_filters} pairs [width, number]",
        lambda value: isinstance(value, (list, tuple)) and 1 <= len(value) <= max_filters,
        takes_integers=True,
        items=Rule(f"hold pairs [width, number], the width at least 1 and the number from 1 to {max_number}", is_pair),
    )


def whole_numbers(value: Any, depth: int = 2) -> Any:
    """Return `value` with an integer for each float without a fraction, as some programs write integers, in lists up to `depth` too.

    The result is `value` itself if it has no such float.
    """
    if type(value) is float and value.is_integer():
        return int(value)
    if depth and isinstance(value, (list, tuple)):
        items = [whole_numbers(item, depth - 1) for item in value]
        if any(new is not old for new, old in zip(items, value)):
            return items
    return value


def option(key: str, rule: Rule, default: Any = dataclasses.MISSING, in_bilm_tf: bool = True) -> Any:
    """Return a dataclass field for the option `key` of options.json, sections joined by dots, with the `rule` for its value.

    Without a `default` the option is required. `in_bilm_tf` is whether bilm-tf has the option too.
    """
    return dataclasses.field(default=default, metadata={"key": key, "rule": rule, "in_bilm_tf": in_bilm_tf})
