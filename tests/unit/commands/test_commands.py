"""A small biLM from training to downstream use, with commands of `allennlp`."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import pytest
from allennlp.commands import main
from allennlp.modules.elmo import Elmo, batch_to_ids

from examples.training_summary import summary
from tests.helpers.small_text import SENTENCES, small_config, write_text

ROOT = Path(__file__).resolve().parents[3]

TAGGED = """1\tThe\tthe\tDET\t_\t_\t0\t_\t_\t_
2\tmill\tmill\tNOUN\t_\t_\t0\t_\t_\t_
3\tturns\tturn\tVERB\t_\t_\t0\t_\t_\t_

1\tRain\train\tNOUN\t_\t_\t0\t_\t_\t_
2\tfalls\tfall\tVERB\t_\t_\t0\t_\t_\t_
"""


def run(monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> None:
    """Run `allennlp ARGUMENTS`."""
    # The plugin is already imported. AllenNLP would import every module of its own for each command.
    monkeypatch.setattr("allennlp.commands.import_plugins", lambda: None)
    monkeypatch.setattr(sys, "argv", ["allennlp", *map(str, arguments)])
    main(prog="allennlp")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a training."""
    directory = tmp_path_factory.mktemp("train")
    config = directory / "config.json"
    config.write_text(json.dumps(small_config(directory)), encoding="utf-8")
    with pytest.MonkeyPatch.context() as monkeypatch:
        run(monkeypatch, "train", config, "-s", directory / "out")
    return directory


@pytest.mark.slow
def test_a_training_as_a_user_starts_it(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(small_config(tmp_path)), encoding="utf-8")
    command = [sys.executable, "-m", "allennlp", "train", str(config), "-s", str(tmp_path / "out")]
    result = subprocess.run(
        [*command, "--include-package", "allennlp_elmo_plus"],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=1200,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Warning" not in result.stderr and (tmp_path / "out" / "model.tar.gz").exists()


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def test_train(trained: Path) -> None:
    metrics = read_json(trained / "out" / "metrics.json")
    assert "training_perplexity" not in metrics and metrics["training_sampled_perplexity"] > 1
    assert metrics["training_tokens_per_second"] > 0
    both = math.sqrt(metrics["validation_forward_perplexity"] * metrics["validation_backward_perplexity"])
    assert metrics["validation_perplexity"] == pytest.approx(both)
    words = (trained / "out" / "vocabulary" / "tokens.txt").read_text(encoding="utf-8").split()
    assert words[:3] == ["<S>", "</S>", "<UNK>"] and len(words) == len(set(words))


def test_evaluate_and_the_summary_agree_with_validation(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = trained / "out" / "heldout_metrics.json"
    run(monkeypatch, "evaluate", trained / "out" / "model.tar.gz", trained / "heldout.txt", "--output-file", output)
    metrics = read_json(trained / "out" / "metrics.json")
    assert read_json(output)["perplexity"] == pytest.approx(metrics["best_validation_perplexity"], rel=1e-6)
    lines = summary(trained / "out").splitlines()
    assert any(f" {small_config(tmp_path)['trainer']['num_epochs']} epochs in " in line for line in lines)


def test_predict(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, output = write_text(tmp_path / "text.txt", SENTENCES[:3]), tmp_path / "scores.jsonl"
    archive = trained / "out" / "model.tar.gz"
    run(monkeypatch, "predict", archive, text, "--output-file", output, "--silent", "--batch-size", 2)
    lines = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [line["words"] for line in lines] == SENTENCES[:3]
    assert all(line["perplexity"] > 1 for line in lines)


def test_build_vocab(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "build-vocab", trained / "config.json", tmp_path / "vocabulary.tar.gz")
    run(monkeypatch, "train", trained / "config.json", "-s", tmp_path / "dry", "--dry-run")
    words = [
        (directory / "vocabulary" / "tokens.txt").read_text("utf-8")
        for directory in (trained / "out", tmp_path / "dry")
    ]
    assert words[0] == words[1] and (tmp_path / "vocabulary.tar.gz").stat().st_size > 0


def test_export_is_what_allennlp_loads(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    run(monkeypatch, "elmo-export", trained / "out" / "model.tar.gz", tmp_path / "elmo")
    assert "largest" in capsys.readouterr().out
    assert sorted(os.listdir(tmp_path / "elmo")) == ["options.json", "vocab.txt", "weights.hdf5"]
    elmo = Elmo(str(tmp_path / "elmo" / "options.json"), str(tmp_path / "elmo" / "weights.hdf5"), 1, dropout=0)
    assert elmo(batch_to_ids(SENTENCES[:2]))["elmo_representations"][0].shape == (2, 10, 16)
    with h5py.File(tmp_path / "elmo" / "weights.hdf5") as file:
        assert file["char_embed"].shape == (261, 4)


def tagger_config(directory: Path, embedder: dict[str, Any]) -> Path:
    (directory / "tagged.conllu").write_text(TAGGED, encoding="utf-8")
    config = {
        "dataset_reader": {"type": "conll_tags", "token_indexers": {"elmo": {"type": "bilm_characters"}}},
        "train_data_path": str(directory / "tagged.conllu"),
        "validation_data_path": str(directory / "tagged.conllu"),
        "model": {
            "type": "simple_tagger",
            "text_field_embedder": {"token_embedders": {"elmo": {"type": "bilm", **embedder}}},
            "encoder": {"type": "lstm", "input_size": 16, "hidden_size": 4, "bidirectional": True},
        },
        "data_loader": {"batch_size": 2},
        "trainer": {"num_epochs": 1, "cuda_device": -1, "optimizer": "adam", "enable_default_callbacks": False},
    }
    path = directory / "tagger.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def test_downstream_from_the_archive(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tagger_config(tmp_path, {"archive_file": str(trained / "out" / "model.tar.gz")})
    run(monkeypatch, "train", config, "-s", tmp_path / "out")
    assert 0 <= read_json(tmp_path / "out" / "metrics.json")["validation_accuracy"] <= 1


def test_a_downstream_archive_stands_alone(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the options inline and the weights in `pretrained_file`, the pretraining files may be deleted."""
    run(monkeypatch, "elmo-export", trained / "out" / "model.tar.gz", tmp_path / "elmo")
    embedder = {
        "options": read_json(tmp_path / "elmo" / "options.json"),
        "pretrained_file": str(tmp_path / "elmo" / "weights.hdf5"),
    }
    run(monkeypatch, "train", tagger_config(tmp_path, embedder), "-s", tmp_path / "out")
    for name in ("options.json", "weights.hdf5"):
        (tmp_path / "elmo" / name).unlink()
    output = tmp_path / "metrics.json"
    run(monkeypatch, "evaluate", tmp_path / "out" / "model.tar.gz", tmp_path / "tagged.conllu", "--output-file", output)
    expected = read_json(tmp_path / "out" / "metrics.json")["best_validation_accuracy"]
    assert read_json(output)["accuracy"] == pytest.approx(expected)
