import json
import logging
from pathlib import Path

import pytest
import torch

from tests.helpers.command_line import only_line
from tests.helpers.small_text import SENTENCES, write_text

FIXTURES = Path(__file__).resolve().parents[4] / "fixtures"
FILES = (FIXTURES / "options.json", FIXTURES / "weights.hdf5")


def test_a_missing_softmax_is_reported_at_import_and_at_evaluation(tmp_path, run, caplog):
    archive = tmp_path / "imported.tar.gz"
    ended = run("elmo-import", *FILES, archive)
    assert ended.status == 0 and ended.out == f"wrote {archive}\n" and "100%" in ended.err
    assert f"{FILES[1]} has no softmax: the archive gives word vectors and can be fine-tuned" in ended.err
    text, output = write_text(tmp_path / "text.txt", SENTENCES), tmp_path / "metrics.json"
    with caplog.at_level(logging.WARNING):
        ended = run("evaluate", archive, text, "--output-file", output)
    assert ended.status == 0
    # The perplexity of guessing among <S>, </S> and <UNK>.
    assert json.loads(output.read_text())["perplexity"] == pytest.approx(3)
    (record,) = [record for record in caplog.records if "this model has no softmax" in record.getMessage()]
    assert "those of guessing among its 3 words; fine-tune it first" in record.getMessage()


def test_an_error_is_one_line_and_leaves_nothing(tmp_path, run):
    ended = run("elmo-import", tmp_path / "absent.json", FILES[1], tmp_path / "imported.tar.gz")
    assert ended.status == 1
    assert only_line(ended.err) == f"error: {tmp_path}/absent.json: there is no such file or directory"
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_the_old_archive(tmp_path, run, monkeypatch):
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(b"the old one")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupt)
    ended = run("elmo-import", *FILES, archive)
    assert ended.status == 130 and "interrupted: nothing was written" in ended.err
    assert archive.read_bytes() == b"the old one" and list(tmp_path.iterdir()) == [archive]
