"""A small biLM in every file format of a pretrained model, and sentences to embed with it."""

import json
from pathlib import Path

from allennlp_elmo_plus import ElmoEmbedder
from allennlp_elmo_plus.data.text.vocabulary import write_vocabulary
from allennlp_elmo_plus.formats.bilm_tf_hdf5 import write_weights
from allennlp_elmo_plus.modules.build import build_language_model
from tests.helpers.small_archives import archived_files, write_archive
from tests.helpers.small_archives import saved as saved_state
from tests.helpers.small_encoders import options_of, random_encoder

VOCABULARY = ["<S>", "</S>", "<UNK>", "the", "river", "rises", "and", "mill", "turns", "나비", "."]
SENTENCES = [
    "the river rises .".split(),
    [],
    ["the"],
    "and the mill turns and turns and turns .".split(),
    ["x" * 60, "x" * 61, "나비", "the", "<S>", "unheard"],
]


def saved(directory: Path, variant: str = "usual", scale: float = 1.0) -> ElmoEmbedder:
    """
    Write options.json, weights.hdf5, vocab.txt and model.tar.gz of a biLM into `directory`; its random weights are multiplied by
    `scale`. Return an embedder of the biLM.
    """
    options = options_of(variant)
    encoder = random_encoder(options)
    for parameter in encoder.parameters():
        parameter.data.mul_(scale)
    (directory / "options.json").write_text(json.dumps(options.to_dict()), encoding="utf-8")
    write_weights(directory / "weights.hdf5", encoder, options)
    write_vocabulary(directory / "vocab.txt", VOCABULARY)
    model = build_language_model(options, len(VOCABULARY))
    files = archived_files()
    files["config.json"] = json.dumps({"model": {"type": "bilm", **options.to_dict(inference=False)}}).encode()
    files["weights.th"] = saved_state(
        {**model.state_dict(), **{name: value.detach() for name, value in encoder.named_parameters()}}
    )
    files["vocabulary/tokens.txt"] = (directory / "vocab.txt").read_bytes()
    write_archive(directory / "model.tar.gz", files)
    return ElmoEmbedder(encoder, VOCABULARY if options.char_cnn is None else None)
