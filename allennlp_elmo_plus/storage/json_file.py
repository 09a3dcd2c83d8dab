"""Read a JSON object from a file that may come from an untrusted source."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Union

from allennlp_elmo_plus.errors import InputError, truncated_repr

MAX_JSON_BYTES = 2**20


def read_json_mapping(path: Union[str, Path]) -> dict[str, Any]:
    """Return the JSON object in the file at `path`.

    Raises:
        InputError: The file cannot be read, is over 1 MiB, holds no JSON object, or holds an object with a repeated key.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    return parse_json_mapping(content, str(path))


def parse_json_mapping(content: bytes, source: str) -> dict[str, Any]:
    """Return the JSON object in `content`; `source` names the content in error messages.

    Raises:
        InputError: `content` is over 1 MiB, holds no JSON object, or holds an object with a repeated key.
    """

    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in pairs:
            if key in result:
                raise InputError(f"{source}: the key {truncated_repr(key)} comes twice")
            result[key] = value
        return result

    if len(content) > MAX_JSON_BYTES:
        raise InputError(f"{source}: must be at most {MAX_JSON_BYTES:,} bytes of JSON, got more")
    try:
        mapping = json.loads(content.decode("utf-8"), object_pairs_hook=unique)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: must be JSON in UTF-8: {error}") from None
    if not isinstance(mapping, dict):
        raise InputError(f"{source}: must hold a JSON object, got {truncated_repr(mapping)}")
    return mapping
