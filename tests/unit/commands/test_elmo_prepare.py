"""The command `elmo-prepare`."""

from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command_line import Ended, only_line

Run = Callable[..., Ended]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Return a directory with raw text of 101 documents, one of them twice."""
    directory = tmp_path / "raw"
    directory.mkdir()
    rows = [f'{number},"It rains for {number} days. It snows."\n' for number in (*range(100), 3)]
    (directory / "weather.csv").write_text("id,report\n" + "".join(rows), encoding="utf-8")
    return directory


def test_it_writes_two_texts_and_prints_their_sizes(run: Run, raw: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    ended = run("elmo-prepare", raw, data, "--field", "report", "--language", "en", "--heldout-percent", 10)
    assert ended.status == 0, ended.err
    train, heldout = ((data / name).read_text("utf-8").splitlines() for name in ("train.txt", "heldout.txt"))
    assert train[:2] == ["It rains for 0 days .", "It snows ."]
    assert ended.out.splitlines() == [
        "read      101 documents; left out: 1 duplicate, 0 without text",
        f"train     {len(train) // 2} documents, {len(train)} sentences, {len(train) * 9 // 2} words: {data}/train.txt",
        f"held out  {len(heldout) // 2} documents, {len(heldout)} sentences, {len(heldout) * 9 // 2} words: {data}/heldout.txt",
    ]
    again = run("elmo-prepare", raw, data, "--field", "report", "--language", "en")
    assert (again.status, only_line(again.err)) == (
        1,
        f"error: {data}/train.txt exists already: choose another directory, or replace it with `--overwrite`",
    )
    assert run("elmo-prepare", raw, data, "--field", "report", "--tokenized", "--overwrite").status == 0


def test_a_text_is_not_replaced_by_itself(run: Run, tmp_path: Path) -> None:
    text = tmp_path / "train.txt"
    text.write_text("It rains .\n")
    ended = run("elmo-prepare", text, tmp_path / ".", "--tokenized", "--overwrite")
    assert only_line(ended.err) == f"error: {text} must not be both read and written: choose another directory"
    assert text.read_text() == "It rains .\n"


@pytest.mark.parametrize(("options", "least", "most"), [((), 2, 8), (("--heldout-percent", 30), 20, 40)])
def test_each_line_is_a_document_and_the_share_is_held_out(
    run: Run, tmp_path: Path, options: tuple[Any, ...], least: float, most: float
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("".join(f"It rains for {number} days .\n" for number in range(1000)))
    ended = run("elmo-prepare", text, tmp_path / "data", "--tokenized", "--paragraph-per-line", *options)
    assert ended.out.startswith("read      1,000 documents; left out: 0 duplicates, 0 without text\n"), ended.err
    assert least < len((tmp_path / "data" / "heldout.txt").read_text().splitlines()) / 10 < most


def test_a_process_that_was_killed_ends_in_one_line(run: Run, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(*args: Any) -> None:
        raise BrokenProcessPool

    monkeypatch.setattr("allennlp_elmo_plus.commands.elmo_prepare.prepare", prepare)
    ended = run("elmo-prepare", raw, raw / "data", "--field", "report", "--language", "en")
    assert (ended.status, only_line(ended.err)) == (
        1,
        f"error: `{raw}`: a process was killed, perhaps because it ran out of memory: try fewer `--processes`",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of the arguments --language --tokenized is required"),
        (["--language", "en", "--tokenized"], "argument --tokenized: not allowed with argument --language"),
        (["--language", "en", "--heldout-percent", "five"], "argument --heldout-percent: invalid float value: 'five'"),
    ],
)
def test_wrong_arguments_end_in_one_line(run: Run, raw: Path, arguments: list[str], message: str) -> None:
    ended = run("elmo-prepare", raw, raw / "data", *arguments)
    assert ended.status == 2
    assert message in ended.err
    assert not (raw / "data").exists()
