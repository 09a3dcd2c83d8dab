"""`elmo-pairs` as it is typed."""

import io
import json
import os
import sys
from pathlib import Path

import pytest
import torch

from allennlp_elmo_plus.data.text.minimal_pairs import read_pairs
from allennlp_elmo_plus.formats.model_files import ModelSource
from allennlp_elmo_plus.inference.scoring.minimal_pairs import score_pairs
from allennlp_elmo_plus.inference.scoring.word_log_probs import WordScorer
from tests.helpers.command_line import only_line
from tests.helpers.saved_bilm import saved

ORDER = "mill the turns\nthe mill turns\nriver the rises\nthe river rises\n"
AGREEMENT = "the mill turn\nthe mill turns\nthe mill and\nand the mill\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model.tar.gz, in a directory that also has the model's files without a softmax."""
    directory = tmp_path_factory.mktemp("model")
    # Small weights: large ones make probabilities of 0.
    saved(directory, scale=0.5)
    return directory / "model.tar.gz"


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    directory = tmp_path / "pairs"
    directory.mkdir()
    (directory / "order.txt").write_text(ORDER, "utf-8")
    (directory / f"agreement-{'x' * 60}.txt").write_text(AGREEMENT, "utf-8")
    return directory


def test_the_table_the_file_and_the_page(model: Path, pairs: Path, tmp_path: Path, run) -> None:
    output, page = tmp_path / "scores.jsonl", tmp_path / "page.html"
    ended = run("elmo-pairs", model, pairs / "order.txt", pairs, "--output-file", output, "--page", page)
    assert ended.status == 0 and "100%" in ended.err
    scorer = WordScorer.from_source(ModelSource(model), torch.device("cpu"))
    read = [
        pair
        for path in (pairs / "order.txt", pairs)
        for pair in read_pairs(str(path), lambda texts: [*map(str.split, texts)])
    ]
    expected = list(score_pairs(scorer, read))
    for line, score in zip(output.read_text("utf-8").splitlines(), expected, strict=True):
        written = json.loads(line)
        assert written["unknown_words"] == (["turn"] if "turn" in score.pair.unacceptable else [])
        for name, log_probs in score.log_probs.items():
            assert written[name]["acceptable"] == pytest.approx(log_probs.acceptable, rel=1e-5)
            assert written[name]["correct"] == log_probs.correct
        assert list(written)[:5] == ["file", "line", "phenomenon", "acceptable", "unacceptable"]

    def shares(scores) -> list[str]:
        means = (sum(score.log_probs[name].correct for score in scores) / len(scores) for name in scores[0].log_probs)
        return [f"{100 * mean:.1f}" for mean in means]

    # Of the pairs in the order of the files (order, agreement, order), only the first of agreement has an unknown word.
    order, unknown, agreement = [*expected[:2], *expected[4:]], expected[2:3], expected[3:4]
    assert [line.split() for line in ended.out.splitlines() if line] == [
        ["right", "judgements", "in", "percent"],
        ["words", "in", "the", "vocabulary", "pairs", "forward", "backward", "both"],
        ["order", "4", *shares(order)],
        [f"agreement-{'x' * 36}...", "1", *shares(agreement)],
        ["all", "5", *shares([*order, *agreement])],
        ["a", "word", "outside", "the", "vocabulary", "pairs", "forward", "backward", "both"],
        [f"agreement-{'x' * 36}...", "1", *shares(unknown)],
        ["all", "pairs", "pairs", "forward", "backward", "both"],
        ["all", "6", *shares(expected)],
    ]
    assert max(map(len, ended.out.splitlines())) <= 80
    html = page.read_text("utf-8")
    assert all(f"<h2>{title}</h2>" in html for title in ("words in the vocabulary", "all pairs")) and "x" * 60 in html


def test_a_pipe_of_blimp_split_by_rules(model: Path, run, monkeypatch: pytest.MonkeyPatch) -> None:
    line = '{"sentence_good": "the mill turns.", "sentence_bad": "mill the turns.", "linguistics_term": "order"}\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(line.encode())))
    ended = run("elmo-pairs", model, "-", "--language", "xx")
    assert ended.status == 0
    # "turns." would be outside the vocabulary.
    assert ended.out.splitlines()[2].startswith("words in the vocabulary") and ended.out.splitlines()[3].startswith(
        "order"
    )


def test_failures_have_status_1_and_one_line(model: Path, pairs: Path, tmp_path: Path, run) -> None:
    def failure(*arguments: object) -> str:
        ended = run("elmo-pairs", *arguments)
        assert ended.status == 1 and ended.out == ""
        return only_line(ended.err)

    output = tmp_path / "scores.jsonl"
    assert "no.tar.gz: there is no such file or directory" in failure(tmp_path / "no.tar.gz", pairs)
    assert "no.txt`: there is no such file" in failure(model, pairs, tmp_path / "no.txt", "--output-file", output)
    (pairs / "odd.txt").write_text("the mill\n", "utf-8")
    assert "odd.txt, line 1: an unacceptable sentence must be followed by" in failure(
        model, pairs, "--output-file", output
    )
    assert "there is no directory" in failure(model, pairs / "order.txt", "--page", tmp_path / "no" / "page.html")
    assert "`--language` must be a language code of spaCy" in failure(model, pairs / "order.txt", "--language", "qq")
    assert not output.exists()


def test_the_name_of_a_file_may_be_no_utf_8(model: Path, tmp_path: Path, run) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.txt")
    path.write_text(ORDER, "utf-8")
    ended = run("elmo-pairs", model, path, "--output-file", tmp_path / "scores.jsonl")
    assert ended.status == 0
    assert [json.loads(line)["phenomenon"] for line in (tmp_path / "scores.jsonl").read_text("utf-8").splitlines()] == [
        "caf\ufffd"
    ] * 2
