"""No command writes over a file that it reads."""

import os
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
        ("elmo-import DIRECTORY weights.hdf5", IN_MODEL),
        ("elmo-import DIRECTORY new.tar.gz", IN_MODEL),
        ("elmo vocab.txt new.hdf5 --all --model DIRECTORY", IN_MODEL),
        ("elmo-neighbors DIRECTORY other.txt --query the the --output options.json", IN_MODEL),
        ("elmo-pairs DIRECTORY other.txt --output-file options.json", IN_MODEL),
        ("elmo-usages DIRECTORY mill other.txt other.txt --page vocab.txt", IN_MODEL),
        ("elmo-cache vocab.txt --options-file options.json --weight-file weights.hdf5", IS_INPUT),
        ("elmo-prepare DIRECTORY DIRECTORY --tokenized", "must not be both read and written"),
    ],
)
def test_nothing_is_written_among_the_files_that_are_read(command: str, rule: str, tmp_path: Path, run: Any) -> None:
    for name in ("weights.hdf5", "options.json", "vocab.txt"):
        (tmp_path / name).write_text("precious\n")
    (tmp_path / "elsewhere").mkdir()
    other = tmp_path / "elsewhere" / "other.txt"
    other.write_text("precious\n")
    places = {"DIRECTORY": tmp_path, "other.txt": other}
    words = [places.get(word, tmp_path / word if "." in word else word) for word in command.split()]
    ended = run(*words)
    assert ended.status in (1, 2) and rule in only_line(ended.err)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == ["options.json", "other.txt", "vocab.txt", "weights.hdf5"]
    assert {path.read_text() for path in files} == {"precious\n"}


@pytest.mark.parametrize(
    "text, output",
    [
        ("links", "data/x.txt"),
        ("links", "links/x.txt"),
        ("links/*.txt", "data/x.txt"),
        ("*/x.txt", "data/x.txt"),
        ("**/x.txt", "links/x.txt"),
        ("hard", "data/x.txt"),
    ],
)
def test_a_text_stays_by_whatever_name_it_is_read(text: str, output: str, tmp_path: Path, run: Any) -> None:
    for name in ("data", "links", "hard"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "x.txt").write_text("precious\n")
    (tmp_path / "links" / "x.txt").symlink_to("../data/x.txt")
    os.link(tmp_path / "data" / "x.txt", tmp_path / "hard" / "y.txt")
    ended = run("elmo-vocab", tmp_path / text, "--output", tmp_path / output)
    assert ended.status == 2 and IS_INPUT in only_line(ended.err)
    assert (tmp_path / "data" / "x.txt").read_text() == "precious\n"


def test_a_name_that_looks_like_a_pattern_refuses_no_other_file(tmp_path: Path, run: Any) -> None:
    (tmp_path / "t[1].txt").write_text("the mill\n")
    assert run("elmo-vocab", tmp_path / "t[1].txt", "--output", tmp_path / "t1.txt").status == 0


def test_a_directory_beside_the_vocabulary_stays(tmp_path: Path, run: Any) -> None:
    (tmp_path / "words.txt.shards").mkdir()
    for name in ("text.txt", "words.txt.shards/precious.txt"):
        (tmp_path / name).write_text("the mill\n")
    for cluster in ([], ["--scheduler", "local", "--processes", "1"]):
        assert run("elmo-vocab", tmp_path / "text.txt", "--output", tmp_path / "words.txt", *cluster).status == 0
        assert [path.name for path in (tmp_path / "words.txt.shards").iterdir()] == ["precious.txt"]
