"""The command `allennlp elmo-push`; the upload itself is tested in `tests/unit/integrations/test_hub.py`."""

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command_line import only_line

NAMES = ["README.md", "options.json", "weights.hdf5", "vocab.txt", "model.safetensors"]


def test_an_output_directory_gets_the_files_and_nothing_is_uploaded(bilm: Path, tmp_path: Path, run: Any) -> None:
    facts = ("--language", "en", "--language", "ko", "--license", "mit", "--tag", "news")
    folder = tmp_path / "folder"
    ended = run("elmo-push", bilm, "user/elmo", *facts, "--output-dir", folder)
    assert (ended.status, ended.out) == (0, "".join(f"wrote {folder / name}\n" for name in NAMES))
    assert (folder / "README.md").read_text("utf-8").startswith("---\nlanguage:\n- en\n- ko\n")
    ended = run("elmo-push", bilm, "user/elmo", *facts, "--output-dir", folder)
    assert ended.out.splitlines()[0] == f"wrote {folder / 'options.json'}"
    assert ended.out.splitlines()[-1] == f"kept the README.md in {folder}"


def test_an_upload_gets_the_arguments_and_the_address_is_printed(
    bilm: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []

    def push_to_hub(*arguments: Any, **facts: Any) -> str:
        calls.append((*arguments, facts))
        return "https://hub.example/user/elmo"

    monkeypatch.setattr("allennlp_elmo_plus.commands.elmo_push.push_to_hub", push_to_hub)
    vocabulary = bilm / "vocab.txt"
    ended = run(
        "elmo-push", bilm, "user/elmo", "--license", "mit", "--tag", "a", "--private", "--vocab-file", vocabulary
    )
    assert ended.out == "uploaded to https://hub.example/user/elmo; load it as hf://user/elmo\n"
    facts = {"language": [], "license": "mit", "tags": ["a"], "private": True, "vocab_file": str(vocabulary)}
    assert calls == [(str(bilm), "user/elmo", facts)]


def test_wrong_arguments_are_refused(bilm: Path, tmp_path: Path, run: Any) -> None:
    ended = run("elmo-push", bilm, "user/elmo", "--private", "--output-dir", tmp_path / "folder")
    assert ended.status == 2 and "--private is for an upload, and --output-dir uploads nothing" in ended.err
    ended = run("elmo-push", bilm, "elmo", "--output-dir", tmp_path / "folder")
    assert (ended.status, only_line(ended.err)) == (1, "error: `repo_id` must be USER/NAME, got 'elmo'")
    assert list(tmp_path.iterdir()) == []
