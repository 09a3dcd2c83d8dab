"""Small encoders, one for each optional part of the model, and functions that read and change their weights.hdf5."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch

from allennlp_elmo_plus.formats.bilm_tf_hdf5 import read_parameters
from allennlp_elmo_plus.formats.parameters import fill_parameters
from allennlp_elmo_plus.modules.build import build_encoder
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.options.bilm_options import BiLMOptions

BASE: dict[str, Any] = {
    "char_cnn": {"activation": "relu", "embedding": {"dim": 3}, "filters": [[1, 4], [2, 6]], "n_highway": 2},
    "lstm": {"dim": 10, "projection_dim": 5, "n_layers": 2, "use_skip_connections": True},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "usual": {},
    "no highway": {"char_cnn": {**BASE["char_cnn"], "n_highway": 0}},
    "no CNN projection": {"lstm": {**BASE["lstm"], "projection_dim": 10, "dim": 12}},
    "no LSTM projection": {"lstm": {**BASE["lstm"], "projection_dim": 7, "dim": 7}},
    "one layer": {"lstm": {**BASE["lstm"], "n_layers": 1}},
    "one direction": {"bidirectional": False},
    "words": {"char_cnn": None, "n_tokens_vocab": 11},
    "one layer, one direction, words, no projection": {
        "char_cnn": None,
        "n_tokens_vocab": 11,
        "bidirectional": False,
        "lstm": {"dim": 5, "projection_dim": 5},
    },
}
variants = pytest.mark.parametrize("variant", VARIANTS)


def options_of(variant: str) -> BiLMOptions:
    return BiLMOptions.from_dict({**BASE, **VARIANTS[variant]})


def random_encoder(options: BiLMOptions, seed: int = 3) -> BiLMEncoder:
    torch.manual_seed(seed)
    encoder = build_encoder(options)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_()
    return encoder


def read_weights(path: Path, module: torch.nn.Module, options: BiLMOptions, vocab_size: int | None = None) -> None:
    """Fill all parameters of `module` from the weights.hdf5 at `path`."""
    fill_parameters(module, read_parameters(path, options, vocab_size), str(path))


def edit(path: Path, change: Callable[[h5py.File], None]) -> None:
    """Apply `change` to the HDF5 file at `path`."""
    with h5py.File(path, "r+") as file:
        change(file)
