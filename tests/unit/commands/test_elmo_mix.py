"""`allennlp elmo --mix`: the vectors of the layer mix that a downstream model has learned."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from allennlp.common import Params
from allennlp.data import Vocabulary
from allennlp.models import Model
from allennlp.models.archival import archive_model, load_archive

from tests.helpers.command_line import only_line
from tests.helpers.exported_bilm import LINES, OPTIONS, close, ids_of, read_vectors
from tests.helpers.saved_bilm import saved


def tagger_archive(directory: Path, bilm: Path, **embedder: Any) -> Path:
    """Return the archive of a model over a biLM, with a mix and weights that training has changed."""
    config = {
        "type": "basic_classifier",
        "text_field_embedder": {
            "token_embedders": {
                "elmo": {"type": "bilm", "options": OPTIONS, "pretrained_file": str(bilm / "weights.hdf5"), **embedder}
            }
        },
        "seq2vec_encoder": {"type": "boe", "embedding_dim": 16},
    }
    vocab = Vocabulary({"labels": {"quiet": 1, "loud": 1}})
    torch.manual_seed(1)
    model = Model.from_params(Params(json.loads(json.dumps(config))), vocab=vocab)
    with torch.no_grad():
        for parameter in model._text_field_embedder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    reader = {
        "type": "text_classification_json",
        "tokenizer": "just_spaces",
        "token_indexers": {"elmo": {"type": "elmo_characters"}},
    }
    (directory / "config.json").write_text(json.dumps({"dataset_reader": reader, "model": config}))
    vocab.save_to_files(str(directory / "vocabulary"))
    torch.save(model.state_dict(), directory / "best.th")
    return Path(archive_model(directory))


def test_a_mix_gives_what_the_model_in_the_archive_gets(bilm, text, tmp_path, run):
    archive = tagger_archive(tmp_path, bilm, requires_grad=True)
    run("elmo", text, tmp_path / "mixed.hdf5", "--mix", archive, "--model", bilm)
    embedder = load_archive(archive).model.eval()._text_field_embedder
    arrays = read_vectors(tmp_path / "mixed.hdf5")
    for number, sentence in enumerate(LINES):
        vectors = embedder({"elmo": {"elmo_tokens": ids_of([sentence.split()])}})[0]
        close(torch.from_numpy(arrays[str(number)]), vectors.detach(), 1e-6)


@pytest.mark.parametrize(
    "embedder, message",
    [
        ({"do_layer_norm": True}, "a mix with `do_layer_norm` cannot be used"),
        ({"options": {**OPTIONS, "lstm": {**OPTIONS["lstm"], "dim": 21}}}, "in its biLM: `bilm."),
    ],
)
def test_a_mix_that_cannot_be_used_is_refused(bilm, text, tmp_path, run, embedder, message):
    if "options" in embedder:
        embedder["pretrained_file"] = None
    archive = tagger_archive(tmp_path, bilm, **embedder)
    ended = run("elmo", text, tmp_path / "mixed.hdf5", "--mix", archive, "--model", bilm)
    assert ended.status == 1 and message in only_line(ended.err)


def test_an_archive_without_a_mix_is_refused(bilm, text, tmp_path, run):
    saved(tmp_path)
    ended = run("elmo", text, tmp_path / "mixed.hdf5", "--mix", tmp_path / "model.tar.gz", "--model", bilm)
    assert ended.status == 1
    assert only_line(ended.err).endswith("must hold the mix of one token embedder of type `bilm`, got none")
