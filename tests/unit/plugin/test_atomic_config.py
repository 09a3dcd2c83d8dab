import json

import pytest
from allennlp.common import Params

import allennlp_elmo_plus.plugin  # noqa: F401


def test_a_config_is_written_over_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "config.json"
    Params({"a": 1}).to_file(str(path))

    def half(config, file, **options):
        file.write("{")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(json, "dump", half)
        with pytest.raises(OSError, match="No space left"):
            Params({"a": 2}).to_file(str(path))
    assert Params.from_file(path).as_dict() == {"a": 1}
    Params({"b": 2, "a": 1}).to_file(str(path), [["a", "b"]])
    assert path.read_text() == json.dumps({"a": 1, "b": 2}, indent=4)
    assert [found.name for found in tmp_path.iterdir()] == ["config.json"]
