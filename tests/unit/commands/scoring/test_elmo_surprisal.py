"""`elmo-surprisal` as it is typed."""

import io
import json
import math
import sys
from pathlib import Path

import pytest
import torch

from allennlp_elmo_plus.formats.model_files import ModelSource
from allennlp_elmo_plus.inference.scoring.word_log_probs import WordScorer
from tests.helpers.command_line import only_line
from tests.helpers.saved_bilm import SENTENCES, saved
from tests.helpers.small_archives import archived_files, write_archive
from tests.helpers.small_encoders import BASE

HEADER = ["sentence", "position", "word", "forward_bits", "backward_bits", "in_vocabulary"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    saved(directory, scale=0.5)
    return directory / "model.tar.gz"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{' '.join(sentence)}\n" for sentence in SENTENCES), "utf-8")
    return path


def test_each_word_has_a_row(model: Path, text: Path, run, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = run("elmo-surprisal", model, text)
    assert ended.status == 0
    header, *rows = (line.split("\t") for line in ended.out.splitlines())
    assert header == HEADER
    scorer = WordScorer.from_source(ModelSource(model), torch.device("cpu"))
    rows_left = iter(rows)
    for number, sentence in enumerate(SENTENCES, 1):
        ((forward, backward),) = scorer.log_probs([sentence])
        for position, word in enumerate(sentence):
            row = dict(zip(HEADER, next(rows_left), strict=True))
            assert (row["sentence"], row["position"], row["word"]) == (str(number), str(position + 1), word)
            assert 2 ** -float(row["forward_bits"]) == pytest.approx(math.exp(forward[position]), rel=1e-3)
            assert 2 ** -float(row["backward_bits"]) == pytest.approx(math.exp(backward[position + 1]), rel=1e-3)
            assert row["in_vocabulary"] == str(scorer.is_known(word)).lower()
    assert list(rows_left) == [] and [row[-1] for row in rows].count("false") == 3

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.read_bytes())))
    assert run("elmo-surprisal", model, "-").out == ended.out


def test_a_forward_only_model_has_one_column(text: Path, tmp_path: Path, run) -> None:
    saved(tmp_path, "one direction", scale=0.5)
    ended = run("elmo-surprisal", tmp_path / "model.tar.gz", text)
    lines = ended.out.splitlines()
    assert lines[0].split("\t") == [name for name in HEADER if name != "backward_bits"]
    assert {len(line.split("\t")) for line in lines} == {5}


def test_the_mean_is_the_perplexity_of_evaluate(tmp_path: Path, text: Path, run) -> None:
    archive, output = tmp_path / "model.tar.gz", tmp_path / "metrics.json"
    files = archived_files({**BASE, "bidirectional": True})
    # Each sentence by itself, as the command reads the text.
    loader = {
        "vocabulary": {"type": "bilm"},
        "data_loader": {"type": "bilm_sentences", "batch_tokens": 20, "shuffle": False},
    }
    files["config.json"] = json.dumps({**json.loads(files["config.json"]), **loader}).encode()
    write_archive(archive, files)
    assert run("evaluate", archive, text, "--output-file", output).status == 0
    metrics = json.loads(output.read_text("utf-8"))
    log_probs = WordScorer.from_source(ModelSource(archive), torch.device("cpu")).log_probs(SENTENCES)
    forward, backward = (torch.cat(direction) for direction in zip(*log_probs, strict=True))
    assert metrics["forward_perplexity"] == pytest.approx(math.exp(-forward.mean()), rel=1e-5)
    assert metrics["backward_perplexity"] == pytest.approx(math.exp(-backward.mean()), rel=1e-5)


def test_failures_have_status_1_and_one_line(model: Path, text: Path, tmp_path: Path, run) -> None:
    def failure(*arguments: object) -> str:
        ended = run("elmo-surprisal", *arguments)
        assert ended.status == 1
        return only_line(ended.err)

    assert "no.tar.gz: there is no such file or directory" in failure(tmp_path / "no.tar.gz", text)
    assert "no.txt`: there is no such file" in failure(model, tmp_path / "no.txt")
    (tmp_path / "blank.txt").write_text("\n\n", "utf-8")
    assert "there is not one word in this text" in run("elmo-surprisal", model, tmp_path / "blank.txt").err


def test_a_bilm_without_a_softmax_is_refused(bilm: Path, text: Path, run) -> None:
    ended = run("elmo-surprisal", bilm, text)
    assert ended.status == 1 and ended.out == ""
    assert only_line(ended.err) == (
        f"error: {bilm}: must be a biLM with its softmax, which gives words their probabilities, got one without"
    )
