"""`elmo-usages` as it is typed: the table, the files, the page."""

import json
import re
from pathlib import Path

import pytest

from tests.helpers.browser import DESKTOP, FAULTS, PHONE, browser
from tests.helpers.command_line import only_line
from tests.helpers.saved_bilm import saved
from tests.unit.report.test_page import HOSTILE, Page

FIRST = ["the mill turns .", "and the mill rises", "the mill", "mill and river", "a mill by the river ."] * 2
SECOND = ["mill turns and turns .", "the river and the mill .", f"no {HOSTILE.split()[0]} mill", "나비 mill"] * 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bilm")
    saved(directory)
    return directory / "model.tar.gz"


@pytest.fixture
def corpora(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "first.txt", tmp_path / "second.txt"
    for path, lines in zip(paths, (FIRST, SECOND)):
        path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return paths


def test_the_table_the_files_and_the_page(model: Path, corpora: tuple[Path, Path], tmp_path: Path, run) -> None:
    files = {name: tmp_path / f"usages.{name}" for name in ("tsv", "jsonl", "html")}
    arguments = ("elmo-usages", model, "mill,river,rises,absent", *corpora, "--max-occurrences", 8, "--seed", 3)
    ended = run(*arguments, "--output", files["tsv"], "--page", files["html"])
    assert ended.status == 0
    assert f"rises: not in {corpora[1]}, so not compared" in ended.err
    assert f"absent: not in {corpora[0]} and not in {corpora[1]}, so not compared" in ended.err
    assert files["tsv"].read_text("utf-8") == ended.out
    header, *lines = (line.split("\t") for line in ended.out.splitlines())
    assert header == "word found_a found_b used_a used_b apd prt jsd clusters".split()
    assert [line[:5] for line in lines] == [
        ["mill", "10", "8", "8", "8"],
        ["river", "4", "2", "4", "2"],
        ["rises", "2", "0", "2", "0"],
        ["absent", "0", "0", "0", "0"],
    ]
    assert [line[5:] for line in lines[2:]] == [[""] * 4] * 2

    assert run(*arguments, "--output", files["jsonl"]).out == ended.out
    records = [json.loads(line) for line in files["jsonl"].read_text("utf-8").splitlines()]
    for record, line in zip(records, lines, strict=True):
        assert list(record) == header
        assert [str(record[name]) for name in header[:5]] == line[:5]
    for record, line in zip(records[:2], lines):
        assert [f"{record[name]:.4f}" for name in ("apd", "prt", "jsd")] == line[5:8]
        assert str(len(record["clusters"])) == line[8]
        for number, corpus in enumerate((FIRST, SECOND)):
            letter = "ab"[number]
            assert sum(cluster[f"count_{letter}"] for cluster in record["clusters"]) == record[f"used_{letter}"]
            for cluster in record["clusters"]:
                for example in cluster[f"examples_{letter}"]:
                    assert " ".join(example["sentence"]) in corpus
                    assert example["sentence"][example["position"]] == record["word"]
    assert records[2]["clusters"] is None is records[2]["apd"]

    html = files["html"].read_text("utf-8")
    page = Page(html)
    assert "script" not in page.tags and "<mark>mill</mark>" in html and HOSTILE.split()[0] not in html
    for name in ("Usages of 4 words", str(model), *map(str, corpora), "A: 8 of 10 occurrences, B: 8 of 8 occurrences"):
        assert name in page.text
    counts = [cluster[f"count_{letter}"] for cluster in records[0]["clusters"] for letter in "ab"]
    assert [int(count) for count in re.findall(r"(\d+) \(\d+%\)", page.text)][: len(counts)] == counts


def test_the_page_fits_its_screens(model: Path, corpora: tuple[Path, Path], tmp_path: Path, run) -> None:
    page = tmp_path / "usages.html"
    run("elmo-usages", model, "mill,river", *corpora, "--page", page)
    with browser(tmp_path) as chromium:
        for width in (DESKTOP, PHONE):
            chromium.open(page.as_uri(), width)
            assert chromium.evaluate(FAULTS) == []


def test_options_change_the_result(model: Path, corpora: tuple[Path, Path], run) -> None:
    def table(*options: object) -> str:
        ended = run("elmo-usages", model, "mill", *corpora, *options)
        assert ended.status == 0
        return ended.out

    usual = table()
    assert usual == table("--layer", 2)
    # Without context, all usages are the same.
    assert table("--layer", 0).splitlines()[1].split("\t")[5:] == ["0.0000", "0.0000", "0.0000", "1"]
    samples = {table("--max-occurrences", 3, "--seed", seed) for seed in (1, 2, 3)}
    assert len(samples) > 1
    assert table("--clustering", "affinity").splitlines()[0] == usual.splitlines()[0]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["m", "a", "t"], "the following arguments are required: corpus_b"),
        (["m", "a", "-", "-"], "only one of the corpora can be standard input, got - for both"),
        (["m", "a", "t", "u", "--output", "x.csv"], "--output must end in .tsv or .jsonl, got x.csv"),
        (["m", "a", "t", "u", "--max-occurrences", "0"], "--max-occurrences: must be at least 1, got 0"),
        (["m", "a", "t", "u", "--clustering", "x"], "--clustering: invalid choice: 'x'"),
    ],
)
def test_wrong_usage_has_status_2(arguments: list[str], message: str, run) -> None:
    ended = run("elmo-usages", *arguments)
    assert ended.status == 2 and message in ended.err


def test_failures_have_status_1_and_one_line(model: Path, corpora: tuple[Path, Path], tmp_path: Path, run) -> None:
    page = tmp_path / "page.html"

    def failure(*arguments: object) -> str:
        ended = run("elmo-usages", *arguments, "--page", page)
        assert ended.status == 1 and ended.out == ""
        return only_line(ended.err.splitlines()[-1] + "\n")

    assert "no.tar.gz: there is no such file" in failure(tmp_path / "no.tar.gz", "mill", *corpora)
    assert "no.txt" in failure(model, "mill", corpora[0], tmp_path / "no.txt")
    assert "words must be UTF-8, got 'caf\\udce9'" in failure(model, "the,caf\udce9", *corpora)
    assert "the words to compare must be at least one" in failure(model, ",", *corpora)
    assert "`layer` must be from 0 to 2, the layers of this biLM, got 7" in failure(
        model, "mill", *corpora, "--layer", 7
    )
    assert "no word of 'x,y' occurs in both" in failure(model, "x,y", *corpora)
    assert not page.exists()


def test_a_bilm_without_softmax_finds_no_words(model: Path, corpora: tuple[Path, Path], tmp_path: Path, run) -> None:
    output = tmp_path / "usages.jsonl"
    directory = tmp_path / "exported"
    directory.mkdir()
    for name in ("options.json", "weights.hdf5", "vocab.txt"):
        (directory / name).write_bytes((model.parent / name).read_bytes())
    ended = run("elmo-usages", directory, "mill", *corpora, "--output", output)
    assert ended.status == 0 and "this biLM has no softmax, so it predicts no words that fit" in ended.err
    (record,) = map(json.loads, output.read_text("utf-8").splitlines())
    assert [cluster["substitutes"] for cluster in record["clusters"]] == [[]] * len(record["clusters"])
