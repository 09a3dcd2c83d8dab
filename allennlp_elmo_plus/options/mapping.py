"""The keys and values of an options.json that somebody else wrote, brought into the form that the options are read from."""

import difflib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from allennlp_elmo_plus.errors import InputError, truncated_repr
from allennlp_elmo_plus.options.rules import Filters, Integer

logger = logging.getLogger(__name__)

TRAINING_CHARACTERS = 261
INFERENCE_CHARACTERS = 262
N_CHARACTERS = "char_cnn.n_characters"

# Keys that rewrites of bilm-tf write into a section, and that do not change a model whose weights are loaded.
_IGNORED_TO_LOAD = ("char_cnn.projection",)

_SECTIONS = ("char_cnn", "char_cnn.embedding", "lstm")
_MAX_KEY_LENGTH = 100


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> tuple[list[str], dict[str, Any]]:
    """The sections in `mapping`, and the values by their keys, sections joined by dots; those that are None are left out.

    Raises InputError for a key with a dot of its own, and a section that is no object.
    """
    sections: list[str] = []
    flat: dict[str, Any] = {}
    for name, value in mapping.items():
        key = f"{prefix}{name}"
        # With dots it could say again what a section says.
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
    """Removes from `flat`, with a warning, the keys that are not in `valid` and cannot change the model's shape: those in no section,
    without a section of their own, and not almost the name of an option; with `inference`, also those of _IGNORED_TO_LOAD.

    Raises InputError for any other key that is not in `valid`.
    """
    by_leaf = {name.rsplit(".", 1)[-1]: name for name in reversed(valid)}
    for key in [key for key in flat if key not in valid]:
        if not (inference and key in _IGNORED_TO_LOAD):
            # By the last part alone, as sections are alike. Time grows with the length.
            near = difflib.get_close_matches(key[:_MAX_KEY_LENGTH].rsplit(".", 1)[-1], by_leaf, 1, 0.8)
            if near:
                raise InputError(f"unknown option {truncated_repr(key)}; did you mean `{by_leaf[near[0]]}`?")
            if "." in key or isinstance(flat[key], Mapping):
                raise InputError(f"unknown option {truncated_repr(key)}, which could change the model's shape")
        logger.warning("%s: the option %s is not known, and is ignored", source, truncated_repr(key))
        del flat[key]


def use_whole_numbers(flat: dict[str, Any], rules: Mapping[str, Any], source: str) -> None:
    """Puts an integer for each float without a fraction into `flat`, with a warning, where the rule of the option, in `rules` by its
    key, asks for integers.
    """
    rules = {**rules, N_CHARACTERS: Integer(TRAINING_CHARACTERS, INFERENCE_CHARACTERS)}
    for key, value in flat.items():
        rule = rules[key]
        if isinstance(rule, (Integer, Filters)) and (number := rule.whole(value)) is not value:
            logger.warning(
                "%s: `%s` is %s; it is read as %s", source, key, truncated_repr(value), truncated_repr(number)
            )
            flat[key] = number


def check_characters(number: Any, source: str, inference: bool) -> None:
    """Raises InputError unless `number`, of characters, is one of the two; logs a warning where it is the other one."""
    expected, other = INFERENCE_CHARACTERS, TRAINING_CHARACTERS
    if not inference:
        expected, other = other, expected
    if number is None or (number == expected and type(number) is int):
        return
    purpose = "to load weights" if inference else "to train"
    if type(number) is not int or number != other:
        raise InputError(f"`{N_CHARACTERS}` must be {expected} {purpose}, got {truncated_repr(number)}")
    logger.warning(
        "%s: `%s` is %d; it should be %d %s, and is read as such", source, N_CHARACTERS, other, expected, purpose
    )
