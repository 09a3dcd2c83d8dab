import json
from pathlib import Path

import pytest

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.inference.neighbors import NearToken, NearWord, Neighbors, TokenInContext
from allennlp_elmo_plus.inference.neighbors_file import read_neighbors, write_neighbors

TOKEN = {"sentence": ["a"], "position": 0}
QUERY = {**TOKEN, "context_free": [], "contextual": []}


def test_a_file_holds_what_was_written(tmp_path: Path) -> None:
    query, token = TokenInContext(("the", "나비"), 1), TokenInContext(("a", "mill"), 0)
    write_neighbors(tmp_path / "n.json", [Neighbors(query, [NearWord(0.5, "mill")], [NearToken(0.25, token)])])
    assert read_neighbors(tmp_path / "n.json") == [
        {
            "sentence": ["the", "나비"],
            "position": 1,
            "context_free": [{"similarity": 0.5, "word": "mill"}],
            "contextual": [{"similarity": 0.25, "sentence": ["a", "mill"], "position": 0}],
        }
    ]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[1]",
        json.dumps([{**QUERY, "position": 1}]),
        json.dumps([{**QUERY, "sentence": "a"}, {**QUERY, "sentence": [1]}]),
        json.dumps([{**QUERY, "context_free": [{"similarity": "near", "word": "a"}]}]),
        json.dumps([{**QUERY, "context_free": [{"similarity": 1, "word": 2}]}]),
        json.dumps([{**QUERY, "context_free": [{"similarity": 10**400, "word": "a"}]}]),
        json.dumps([{**QUERY, "sentence": {"a": "b"}, "position": "a"}]),
        json.dumps([{**QUERY, "contextual": [{"similarity": 1, "sentence": [1], "position": 0}]}]),
    ],
)
def test_another_file_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "n.json"
    path.write_text(content, "utf-8")
    with pytest.raises(InputError, match=f"^{path}: must be a file of `elmo-plus neighbors --output`$"):
        read_neighbors(path)
