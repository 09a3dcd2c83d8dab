"""A small exported biLM, sentences to embed with it, and a comparison of vectors."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from allennlp.modules.elmo import batch_to_ids

from allennlp_elmo_plus.formats.export import export_model
from allennlp_elmo_plus.modules.build import build_encoder
from allennlp_elmo_plus.options.bilm_options import BiLMOptions

OPTIONS: dict[str, Any] = {
    "char_cnn": {"activation": "relu", "embedding": {"dim": 4}, "filters": [[1, 4], [2, 6], [3, 6]], "n_highway": 2},
    "lstm": {
        "dim": 20,
        "projection_dim": 8,
        "n_layers": 2,
        "cell_clip": 0.6,
        "proj_clip": 0.5,
        "use_skip_connections": True,
    },
}
WORDS = "the cat sat on a mat and then , Zürich fell quiet 나비 🙂 un".split() + ["x" * 60]
LINES = ["the cat sat on a mat", "Zürich fell quiet , 나비 🙂", "un " + "x" * 60, "and then"]
BATCHES: list[list[list[str]]] = [
    [["the", "cat", "sat"], ["Zürich"], [], ["the", "x" * 60, "나비", "the", "🙂"]],
    [["a", "mat"], ["and", "then", "the", "cat"]],
    [["quiet"], ["fell", "on"], ["a"], ["the", "the"], ["un", "mat", "sat"], ["cat"]],
    [[], ["the"], ["sat", "on", "a", "mat"]],
]


def exported(directory: Path, options: BiLMOptions, token_bias: float = 0.0) -> dict[str, str]:
    """Export a biLM of `options` into `directory`. Return its files as arguments of the token embedder."""
    torch.manual_seed(11)
    encoder = build_encoder(options)
    with torch.no_grad():
        for parameter in encoder.parameters():
            # Large enough that both clips take effect; few enough digits that adding AllenNLP's 1 to a bias does not round.
            parameter.copy_((torch.randn_like(parameter) * 2**9).round() / 2**10)
        if token_bias:
            encoder.token_encoder.projection_bias.fill_(token_bias)
    files = export_model(encoder, options, ["<S>", "</S>", "<UNK>", *WORDS], directory)
    return {"options_file": str(files.options), "weight_file": str(files.weights)}


def ids_of(sentences: list[list[str]]) -> torch.Tensor:
    return batch_to_ids(sentences)


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)


def read_vectors(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays in a file of `allennlp elmo` by their keys."""
    with h5py.File(path) as file:
        return {key: dataset[...] for key, dataset in file.items() if key != "sentence_to_index"}
