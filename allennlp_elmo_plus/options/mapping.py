"""Normalize the keys and values of an options.json file, which any program may have written."""

import difflib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from allennlp_elmo_plus.errors import InputError, truncated_repr
from allennlp_elmo_plus.options.rules import Rule, integer, whole_numbers

logger = logging.getLogger(__name__)

TRAINING_CHARACTERS = 261
INFERENCE_CHARACTERS = 262
N_CHARACTERS = "char_cnn.n_characters"

# Keys that rewrites of bilm-tf write into a section, and that do not change a model whose weights are loaded.
_IGNORED_TO_LOAD = ("char_cnn.projection",)

_SECTIONS = ("char_cnn", "char_cnn.embedding", "lstm")
_MAX_KEY_LENGTH = 100


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> tuple[list[str], dict[str, Any]]:
    """Return the sections of `mapping`, and its values by their keys, sections joined by dots. Values of None are left out.

    Raises:
        InputError: A key contains a dot, or a section is not an object.
    """
    sections: list[str] = []
    flat: dict[str, Any] = {}
    for name, value in mapping.items():
        key = f"{prefix}{name}"
        # A key with dots could repeat a key of a section.
        if "." in name:
            raise InputError(f"unknown option {truncated_repr(key)}; sections are objects of their own")
        if value is None:
            continue
        if key not in _SECTIONS:
            flat[key] = value
            continue
        if not isinstance(value, Mapping):
            raise InputError(f"`{key}` must be an object of options, got {truncated_repr(value)}")
        inner_sections, inner_flat = flatten(value, f"{key}.")
        sections += [key, *inner_sections]
        flat.update(inner_flat)
    return sections, flat


def drop_unknown_keys(flat: dict[str, Any], valid: Sequence[str], source: str, inference: bool) -> None:
    """Remove the unknown keys from `flat` that cannot change the model's shape, with a warning.

    These are keys that are not `valid`, outside of all sections, whose values are not objects and whose names do not resemble a valid
    key; with `inference`, also the keys of _IGNORED_TO_LOAD. `source` is the name of the file in messages.

    Raises:
        InputError: Any other key is not `valid`.
    """
    by_last_part = {name.rsplit(".", 1)[-1]: name for name in reversed(valid)}
    for key in [key for key in flat if key not in valid]:
        if not (inference and key in _IGNORED_TO_LOAD):
            # Only the last parts of keys are compared, because many keys share a section. The time grows with the length of the key.
            similar = difflib.get_close_matches(key[:_MAX_KEY_LENGTH].rsplit(".", 1)[-1], by_last_part, 1, 0.8)
            if similar:
                raise InputError(f"unknown option {truncated_repr(key)}; did you mean `{by_last_part[similar[0]]}`?")
            if "." in key or isinstance(flat[key], Mapping):
                raise InputError(f"unknown option {truncated_repr(key)}, which could change the model's shape")
        logger.warning("%s: the option %s is not known, and is ignored", source, truncated_repr(key))
        del flat[key]


def use_whole_numbers(flat: dict[str, Any], rules: Mapping[str, Rule], source: str) -> None:
    """Replace floats without a fraction in `flat` by integers, with a warning, where the rule for a key requires integers."""
    rules = {**rules, N_CHARACTERS: integer(TRAINING_CHARACTERS, INFERENCE_CHARACTERS)}
    for key, value in flat.items():
        if rules[key].takes_integers and (number := whole_numbers(value)) is not value:
            logger.warning(
                "%s: `%s` is %s; it is read as %s", source, key, truncated_repr(value), truncated_repr(number)
            )
            flat[key] = number


def check_characters(number: Any, source: str, inference: bool) -> None:
    """Check the `number` of characters of a file `source`: 262 for `inference`, else 261. Log a warning for the other of the two.

    Raises:
        InputError: `number` is neither 261 nor 262.
    """
    expected, purpose = (INFERENCE_CHARACTERS, "to load weights") if inference else (TRAINING_CHARACTERS, "to train")
    if number is None:
        return
    if type(number) is not int or number not in (INFERENCE_CHARACTERS, TRAINING_CHARACTERS):
        raise InputError(f"`{N_CHARACTERS}` must be {expected} {purpose}, got {truncated_repr(number)}")
    if number != expected:
        logger.warning(
            "%s: `%s` is %d; it should be %d %s, and is read as such", source, N_CHARACTERS, number, expected, purpose
        )
