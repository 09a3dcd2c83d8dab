"""Write and read a file of nearest neighbours: JSON, from `elmo-plus neighbors` to `elmo-plus report`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.inference.neighbors import Neighbors


def write_neighbors(path: Path, results: Sequence[Neighbors]) -> None:
    """Write `results` to `path`."""
    content = [
        {
            **query._asdict(),
            "context_free": [near._asdict() for near in context_free],
            "contextual": [{"similarity": near.similarity, **near.token._asdict()} for near in contextual],
        }
        for query, context_free, contextual in results
    ]
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


def read_neighbors(path: Path) -> list[dict[str, Any]]:
    """Return the content of a file of `write_neighbors`: one dict per query.

    Raises:
        InputError: The file is not one of `write_neighbors`.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        for query in content:
            for token in (query, *query["contextual"]):
                _check_strings([*token["sentence"], [*token["sentence"]][token["position"]]])
            for near in (*query["context_free"], *query["contextual"]):
                near["similarity"] = float(near["similarity"])
            _check_strings([near["word"] for near in query["context_free"]])
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, RecursionError):
        raise InputError(f"{path}: must be a file of `elmo-plus neighbors --output`") from None
    return content


def _check_strings(words: Sequence[Any]) -> None:
    if not all(isinstance(word, str) for word in words):
        raise ValueError
