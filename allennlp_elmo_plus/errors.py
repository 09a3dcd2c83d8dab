"""The error that bad input raises, the check of a number, and how values, counts, bytes and durations are shown in messages."""

import difflib
from typing import Any, Optional

_MAX_SHOWN = 60
_MAX_MESSAGE = 300
_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


class InputError(ValueError):
    """A file, a line or an option the user gave cannot be used.

    The message is one complete line that names what was given, the rule it breaks and the value found, so that a command can
    print it as it is.
    """


def check_at_least(least: int, **numbers: Optional[int]) -> None:
    """Check `numbers` by name; None stands for a number that is not given.

    Raises:
        InputError: A number is below `least`.
    """
    for name, number in numbers.items():
        if number is not None and number < least:
            raise InputError(f"`{name}` must be at least {least}, got {number}")


def check_utf8(text: str) -> None:
    """Check an argument of a command, in which Python keeps bytes that are no UTF-8 as halves of surrogate pairs.

    Raises:
        InputError: It has such bytes.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"words must be UTF-8, got {truncated_repr(text)}") from None


def truncated_repr(value: Any) -> str:
    """Return `value` in the form of a one-line message: at most 60 characters, no line break."""
    try:
        text = repr(value[:_MAX_SHOWN]) if isinstance(value, str) else " ".join(str(value).split())
    except (RecursionError, ValueError):  # Of too many levels, or a number of too many digits.
        text = f"<{type(value).__name__} too large to show>"
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."


def one_line_message(error: Exception) -> str:
    """Return the message of `error` in one line of at most 300 characters; without a message, the name of the error's type."""
    return " ".join(str(error).split())[:_MAX_MESSAGE] or type(error).__name__


def count_in_words(number: int, noun: str, plural: Optional[str] = None) -> str:
    """Return `number` with its noun: `1 word`, `1,234 words`. The default of `plural` is the noun and an `s`."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def format_bytes(num_bytes: float) -> str:
    """Return a number of bytes with three digits in decimal units: `1.25 GB`."""
    unit = 0
    # Not 1000: what would be rounded up to it belongs to the next unit.
    while abs(num_bytes) >= 999.5 and unit < len(_UNITS) - 1:
        num_bytes /= 1000
        unit += 1
    if unit == 0 or abs(num_bytes) >= 99.95:
        return f"{num_bytes:.0f} {_UNITS[unit]}"
    return f"{num_bytes:.{2 if abs(num_bytes) < 9.995 else 1}f} {_UNITS[unit]}"


def format_duration(seconds: float) -> str:
    """Return a duration in its two largest units: `2 d 3 h`, `1 h 5 min`, `4 min 2 s`, `12 s`."""
    rest = max(0, round(seconds))
    found = []
    for name, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        number, rest = divmod(rest, size)
        found.append((number, name))
    first = next((place for place, (number, _) in enumerate(found) if number), len(found) - 1)
    return " ".join(f"{number} {name}" for number, name in found[first : first + 2] if number) or "0 s"


def unknown_option(component: str, name: str, known: list[str]) -> str:
    """Return the message for the option `name`, which `component` does not have, with the nearest of the `known` options."""
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean `{nearest[0]}`?" if nearest else f"the options are {', '.join(sorted(known))}"
    return f"{component} has no option `{name}`: {hint}"
