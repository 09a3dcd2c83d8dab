"""A small text, and the config that trains a small biLM on it."""

from pathlib import Path
from typing import Any

SENTENCES: list[list[str]] = [
    line.split()
    for line in """
the river rises in spring and falls in summer .
the mill turns when the river rises .
in summer the mill stands still and the miller sleeps .
when the rain comes the river rises again .
the miller wakes and the mill turns .
no rain no flour says the miller .
the baker waits for flour in summer .
in spring the baker sleeps and the miller works .
the river knows no summer says the baker .
and the rain says nothing .
""".strip().splitlines()
]


def write_text(path: Path, sentences: list[list[str]]) -> Path:
    path.write_text("".join(" ".join(sentence) + "\n" for sentence in sentences), encoding="utf-8")
    return path


def small_model_config() -> dict[str, Any]:
    return {
        "type": "bilm",
        "bidirectional": True,
        "char_cnn": {
            "activation": "relu",
            "embedding": {"dim": 4},
            "filters": [[1, 4], [2, 8]],
            "max_characters_per_token": 50,
            "n_characters": 261,
            "n_highway": 1,
        },
        "lstm": {
            "dim": 16,
            "projection_dim": 8,
            "n_layers": 2,
            "cell_clip": 3,
            "proj_clip": 3,
            "use_skip_connections": True,
        },
        "dropout": 0.1,
        "unroll_steps": 5,
        "n_negative_samples_batch": 10,
    }


def small_config(directory: Path) -> dict[str, Any]:
    """Write the text into `directory`. Return the config of a small training on it."""
    loader = {"type": "bilm", "batch_size": 4, "num_steps": 5}
    return {
        "dataset_reader": {"type": "bilm"},
        "vocabulary": {"type": "bilm"},
        "datasets_for_vocab_creation": ["train"],
        "train_data_path": str(write_text(directory / "train.txt", SENTENCES)),
        "validation_data_path": str(write_text(directory / "heldout.txt", SENTENCES[3:7])),
        "model": small_model_config(),
        "data_loader": {**loader, "n_negative_samples_batch": 10},
        "validation_data_loader": {**loader, "shuffle": False},
        "trainer": {
            "num_epochs": 2,
            "cuda_device": -1,
            "validation_metric": "-perplexity",
            "optimizer": {"type": "bilm"},
            "enable_default_callbacks": False,
        },
    }
