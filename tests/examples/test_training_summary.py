"""The lines that `make train` prints at its end."""

import json

import pytest

from allennlp_elmo_plus.errors import InputError
from examples.training_summary import summary

TRAINING = {"epoch": 3, "training_duration": "0:04:10.5", "training_tokens_per_second": 1234.6}
HELDOUT = {"perplexity": 150.126, "forward_perplexity": 140.0, "backward_perplexity": 161.0}


def write(directory, training=TRAINING, heldout=HELDOUT):
    (directory / "metrics.json").write_text(json.dumps(training), encoding="utf-8")
    (directory / "heldout_metrics.json").write_text(json.dumps(heldout), encoding="utf-8")
    return directory


def test_the_summary_has_the_perplexities_the_speed_and_the_next_command(tmp_path):
    text = summary(write(tmp_path))
    assert "both     150.13" in text and "forward  140.00" in text and "backward 161.00" in text
    assert "4 epochs in 0:04:10.5" in text and "1,235 tokens/s" in text
    assert f"{tmp_path / 'model.tar.gz'}" in text and "elmo-plus predict" in text


def test_a_resumed_run_that_was_finished_has_no_speed(tmp_path):
    text = summary(write(tmp_path, training={"best_epoch": 3}))
    assert "both     150.13" in text and "tokens/s" not in text


def test_a_forward_only_model_has_one_perplexity(tmp_path):
    assert "backward" not in summary(write(tmp_path, heldout={"perplexity": 150.0}))


def test_a_missing_or_damaged_metrics_file_is_refused_by_name(tmp_path):
    write(tmp_path)
    (tmp_path / "heldout_metrics.json").unlink()
    with pytest.raises(InputError, match="heldout_metrics.json` does not exist"):
        summary(tmp_path)
    (tmp_path / "heldout_metrics.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"heldout_metrics.json` is not JSON \(line 1\)"):
        summary(tmp_path)
