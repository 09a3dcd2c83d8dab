"""The example english pretrains a biLM for each seed and keeps its figures."""

import pytest

from examples.english.__main__ import pretrain
from examples.shared.figures import Figures
from tests.helpers.small_text import SENTENCES, small_model_config, write_text

SMALL = {"model": small_model_config(), "vocabulary.min_count": 1, "trainer.num_epochs": 1}


@pytest.mark.slow
def test_each_seed_has_a_model_and_figures_and_is_not_repeated(tmp_path):
    write_text(tmp_path / "train.txt", SENTENCES * 2)
    write_text(tmp_path / "heldout.txt", SENTENCES)
    figures = Figures(tmp_path / "figures.jsonl")
    pretrain(tmp_path, tmp_path / "work", [1, 2], figures, SMALL)
    lines = figures.lines({})
    assert [line["seed"] for line in lines] == [1, 2]
    assert lines[0]["perplexity"] > 1 and lines[0]["perplexity"] != lines[1]["perplexity"]
    assert (tmp_path / "work/seed2/model.tar.gz").exists()
    pretrain(tmp_path, tmp_path / "work", [1, 2], figures, SMALL)
    assert figures.lines({}) == lines
