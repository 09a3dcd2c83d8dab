"""The requests to the predictor `bilm`, read from JSON objects and checked."""

import math
from typing import Any, NamedTuple, Optional, Union

from allennlp.common.util import JsonDict

from allennlp_elmo_plus.errors import InputError

DEFAULT_MAX_WORDS = 20
# Limits, so that a typing error does not use up all memory.
MAX_BEAM = 1000
MAX_WORDS = 10_000


class ScoreRequest(NamedTuple):
    """The request `{"sentence": ..., "top": n}`."""

    words: list[str]
    num_substitutes: Optional[int]


class GenerateRequest(NamedTuple):
    """The request `{"prefix": ...}` or `{"suffix": ...}`, with `max_words`, and `beam`, or `temperature` and `seed`."""

    words: list[str]
    is_suffix: bool
    max_words: int
    beam_size: int
    temperature: Optional[float]  # None: not sampled
    seed: Optional[int]  # None: from torch's own generator


Request = Union[ScoreRequest, GenerateRequest]

# The key that is returned with the answer.
ID = "id"

_KEYS = {
    "sentence": ("top",),
    "prefix": ("max_words", "beam", "temperature", "seed"),
    "suffix": ("max_words", "beam", "temperature", "seed"),
}


def read_request(json_dict: JsonDict) -> Request:
    """Return the request in `json_dict`.

    Raises:
        InputError: for keys that are unknown, missing or exclude each other, and for values out of range.
    """
    texts = [key for key in _KEYS if key in json_dict]
    if len(texts) != 1:
        names = " and ".join(f"`{key}`" for key in texts) or "none"
        raise InputError(f"exactly one of `sentence`, `prefix` and `suffix` must be given, got {names}")
    text = texts[0]
    for key in json_dict:
        if key not in (text, ID, *_KEYS[text]):
            known = ", ".join(f"`{name}`" for name in _KEYS[text])
            raise InputError(f"`{key}` does not go with `{text}`, which takes {known}")
    if not isinstance(json_dict[text], str):
        raise InputError(f"`{text}` must be a string, got {json_dict[text]!r}")
    words = json_dict[text].split()
    if text == "sentence":
        return ScoreRequest(words, _integer(json_dict, "top", None))
    temperature = json_dict.get("temperature")
    if temperature is None:
        if json_dict.get("seed") is not None:
            raise InputError("`seed` goes with `temperature`, which is missing")
    elif json_dict.get("beam") is not None:
        raise InputError("`temperature` and `beam` exclude each other, got both")
    elif type(temperature) not in (int, float) or not 0 < temperature < math.inf:
        raise InputError(f"`temperature` must be a positive number, got {temperature!r}")
    return GenerateRequest(
        words,
        text == "suffix",
        _integer(json_dict, "max_words", DEFAULT_MAX_WORDS, MAX_WORDS),
        _integer(json_dict, "beam", 1, MAX_BEAM),
        None if temperature is None else float(temperature),
        _integer(json_dict, "seed", None, 2**63 - 1, minimum=0),
    )


def _integer(json_dict: JsonDict, key: str, default: Any, maximum: Optional[int] = None, minimum: int = 1) -> Any:
    value = json_dict.get(key)
    if value is None:
        return default
    if type(value) is not int or value < minimum or (maximum is not None and value > maximum):
        limits = f"at least {minimum}" if maximum is None else f"from {minimum:,} to {maximum:,}"
        raise InputError(f"`{key}` must be a whole number, {limits}, got {value!r}")
    return value
