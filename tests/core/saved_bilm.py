"""A small biLM in every form that one is kept in, and sentences to embed with it."""

import json
import tarfile
from pathlib import Path

import torch

from allennlp_elmo_plus import ElmoEmbedder
from allennlp_elmo_plus.core.hdf5 import write_weights
from allennlp_elmo_plus.core.vocabulary import write_vocabulary
from tests.core.small_encoders import options_of, random_encoder

VOCABULARY = ["<S>", "</S>", "<UNK>", "the", "river", "rises", "and", "mill", "turns", "나비", "."]
SENTENCES = [
    "the river rises .".split(),
    [],
    ["the"],
    "and the mill turns and turns and turns .".split(),
    ["x" * 60, "x" * 61, "나비", "the", "<S>", "unheard"],
]


def saved(directory: Path, variant: str = "usual") -> ElmoEmbedder:
    """The embedder of what is written into `directory`: options.json, weights.hdf5, vocab.txt and model.tar.gz."""
    options = options_of(variant)
    encoder = random_encoder(options)
    (directory / "options.json").write_text(json.dumps(options.to_dict()), encoding="utf-8")
    write_weights(directory / "weights.hdf5", encoder, options)
    write_vocabulary(directory / "vocab.txt", VOCABULARY)
    config = {"model": {"type": "bilm", **options.to_dict(inference=False)}}
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.save(
        {f"language_model.{name}": value for name, value in encoder.state_dict().items()}, directory / "weights.th"
    )
    with tarfile.open(directory / "model.tar.gz", "w:gz") as archive:
        archive.add(directory / "config.json", "config.json")
        archive.add(directory / "weights.th", "weights.th")
        archive.add(directory / "vocab.txt", "vocabulary/tokens.txt")
    return ElmoEmbedder(encoder, VOCABULARY if options.char_cnn is None else None)
