"""No command writes over a file that it reads."""

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command_line import only_line


@pytest.mark.parametrize(
    "command",
    [
        "elmo-vocab text.txt --output text.txt",
        "elmo-vocab DIRECTORY --output text.txt",
        "elmo-vocab DIRECTORY --output new.txt",
        "elmo-vocab *.txt --output new.txt",
        "elmo-pairs model.tar.gz text.txt --output-file text.txt",
        "elmo-pairs model.tar.gz text.txt --page text.txt",
        "elmo-cache weights.hdf5 --options-file options.json --weight-file weights.hdf5",
        "elmo-neighbors model.tar.gz text.txt --output text.txt --query the the",
        "elmo-usages model.tar.gz mill text.txt other.txt --page other.txt",
        "elmo-import options.json weights.hdf5 weights.hdf5",
        "elmo-import DIRECTORY model.tar.gz",
        "elmo-pairs model.tar.gz other.txt --vocab-file text.txt --output-file text.txt",
        "elmo-usages model.tar.gz mill other.txt other.txt --vocab-file text.txt --page text.txt",
    ],
)
def test_an_output_that_is_an_input_is_refused_and_stays(command: str, tmp_path: Path, run: Any) -> None:
    for name in ("text.txt", "other.txt", "model.tar.gz", "weights.hdf5", "options.json"):
        (tmp_path / name).write_text("precious\n")
    words = ["." if word == "DIRECTORY" else word for word in command.split()]
    ended = run(*(tmp_path / word if word == "." or "." in word else word for word in words))
    assert ended.status == 2 and "the output must be another file than the input, got " in only_line(ended.err)
    assert not (tmp_path / "new.txt").exists()
    assert {path.read_text() for path in tmp_path.iterdir()} == {"precious\n"}


IN_MODEL, IS_INPUT = "must not lie in the directory of the model", "must be another file than the input"


@pytest.mark.parametrize(
    "command, rule",
    [
        ("elmo-cache weights.hdf5 --model DIRECTORY", IN_MODEL),
        ("elmo-cache vocab.txt --model DIRECTORY", IN_MODEL),
        ("elmo-cache new.hdf5 --model DIRECTORY", IN_MODEL),
        ("elmo vocab.txt new.hdf5 --all --model DIRECTORY", IN_MODEL),
        ("elmo-cache vocab.txt --options-file options.json --weight-file weights.hdf5", IS_INPUT),
        ("elmo-prepare DIRECTORY DIRECTORY --tokenized", "must not be both read and written"),
    ],
)
def test_nothing_is_written_among_the_files_that_are_read(command: str, rule: str, tmp_path: Path, run: Any) -> None:
    for name in ("weights.hdf5", "options.json", "vocab.txt"):
        (tmp_path / name).write_text("precious\n")
    words = [tmp_path if word == "DIRECTORY" else tmp_path / word if "." in word else word for word in command.split()]
    ended = run(*words)
    assert ended.status in (1, 2) and rule in only_line(ended.err)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["options.json", "vocab.txt", "weights.hdf5"]
    assert {path.read_text() for path in tmp_path.iterdir()} == {"precious\n"}


def test_a_directory_beside_the_vocabulary_stays(tmp_path: Path, run: Any) -> None:
    (tmp_path / "words.txt.shards").mkdir()
    for name in ("text.txt", "words.txt.shards/precious.txt"):
        (tmp_path / name).write_text("the mill\n")
    for cluster in ([], ["--scheduler", "local", "--processes", "1"]):
        assert run("elmo-vocab", tmp_path / "text.txt", "--output", tmp_path / "words.txt", *cluster).status == 0
        assert [path.name for path in (tmp_path / "words.txt.shards").iterdir()] == ["precious.txt"]
