"""A model of ELMoForManyLangs through AllenNLP's command line, and in a tagger: frozen and trained, saved and loaded."""

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from allennlp.commands.train import train_model
from allennlp.common import Params
from allennlp.data import Batch
from allennlp.models.archival import load_archive

import allennlp_elmo_plus.plugin  # noqa: F401
from allennlp_elmo_plus import ElmoEmbedder
from tests.helpers.command_line import run_command_to_its_end
from tests.helpers.many_langs_models import SENTENCES, config_of, write_model
from tests.helpers.small_text import write_text

TAGGED = "1\tthe\tthe\tDET\t_\t_\t0\t_\t_\t_\n2\tmill\tmill\tNOUN\t_\t_\t0\t_\t_\t_\n\n1\t나비\t나비\tNOUN\t_\t_\t0\t_\t_\t_\n"


def train(directory: Path, variant: str = "usual", **embedder: Any) -> Path:
    """Train a tagger over the model in `directory / "model"`, and return its archive."""
    tagged = directory / "tagged.conllu"
    tagged.write_text(TAGGED, encoding="utf-8")
    options = {"type": "bilm", "options": config_of(variant), "pretrained_file": str(directory / "model")}
    indexer = {"type": "bilm_many_langs", "pretrained_file": str(directory / "model"), "max_characters_per_token": 12}
    config = {
        "dataset_reader": {"type": "conll_tags", "token_indexers": {"elmo": indexer}},
        "train_data_path": str(tagged),
        "model": {
            "type": "simple_tagger",
            "text_field_embedder": {"token_embedders": {"elmo": {**options, "dropout": 0, **embedder}}},
            "encoder": {"type": "pass_through", "input_dim": 2 * config_of(variant)["encoder"]["projection_dim"]},
        },
        "data_loader": {"batch_size": 2},
        "trainer": {
            "num_epochs": 2,
            "cuda_device": -1,
            "optimizer": {"type": "adam", "lr": 0.05},
            "enable_default_callbacks": False,
        },
    }
    train_model(Params(config), str(directory / "out"))
    return directory / "out" / "model.tar.gz"


def average_vectors(archive: Path) -> list[np.ndarray]:
    """The vectors that the tagger in `archive` reads for each of SENTENCES, from the archive alone."""
    loaded = load_archive(archive)
    tagger, reader = loaded.model.eval(), loaded.dataset_reader
    batch = Batch([reader.text_to_instance(sentence) for sentence in SENTENCES])
    batch.index_instances(tagger.vocab)
    with torch.no_grad():
        vectors = tagger.text_field_embedder(batch.as_tensor_dict()["tokens"])
    return [rows[: len(sentence)].numpy() for rows, sentence in zip(vectors, SENTENCES, strict=True)]


@pytest.mark.parametrize("variant", ["usual", "no words", "no characters"])
def test_a_tagger_over_a_frozen_model_is_loaded_from_its_archive_alone(variant: str, tmp_path: Path) -> None:
    write_model(tmp_path / "model", variant)
    archive = train(tmp_path, variant, use_average=True, use_gamma=False)
    expected = ElmoEmbedder.from_pretrained(tmp_path / "model").embed_batch(SENTENCES, layers="average")
    shutil.rmtree(tmp_path / "model")
    for vectors, own in zip(average_vectors(archive), expected, strict=True):
        np.testing.assert_allclose(vectors, own, rtol=0, atol=1e-6)


def test_a_trained_model_is_loaded_as_it_was_trained(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    before = ElmoEmbedder.from_pretrained(tmp_path / "model").encoder.state_dict()
    archive = train(tmp_path, requires_grad=True)
    shutil.rmtree(tmp_path / "model")
    prefix = "text_field_embedder.token_embedder_elmo._elmo._encoder."
    saved = torch.load(tmp_path / "out" / "best.th", weights_only=True)
    loaded = load_archive(archive).model.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(loaded[prefix + name], value)}
    assert changed == set(before) - {"boundary_ids"}
    assert all(torch.equal(loaded[name], value) for name, value in saved.items())


def test_the_command_writes_the_vectors(tmp_path: Path, monkeypatch, capsys) -> None:
    model = write_model(tmp_path / "model")
    # White space separates the words of a text.
    sentences = [[word for word in sentence if not word.isspace()] for sentence in SENTENCES]
    text, output = write_text(tmp_path / "text.txt", sentences), tmp_path / "vectors.hdf5"
    ended = run_command_to_its_end(monkeypatch, capsys, "elmo", text, output, "--all", "--model", tmp_path / "model")
    assert ended.status == 0, ended.err
    with h5py.File(output) as file:
        for number, sentence in enumerate(sentences):
            np.testing.assert_allclose(file[str(number)], model.vectors(sentence).numpy(), rtol=0, atol=1e-5)


def test_the_command_takes_a_trained_model_from_the_archive_of_a_tagger(tmp_path: Path, monkeypatch, capsys) -> None:
    write_model(tmp_path / "model")
    archive = train(tmp_path, requires_grad=True)
    text, output = write_text(tmp_path / "text.txt", [["the", "mill"]]), tmp_path / "vectors.hdf5"
    options = ["--mix", archive, "--model", tmp_path / "model"]
    ended = run_command_to_its_end(monkeypatch, capsys, "elmo", text, output, *options)
    assert ended.status == 0, ended.err
    tagger = load_archive(archive)
    batch = Batch([tagger.dataset_reader.text_to_instance(["the", "mill"])])
    batch.index_instances(tagger.model.vocab)
    with torch.no_grad(), h5py.File(output) as file:
        expected = tagger.model.eval().text_field_embedder(batch.as_tensor_dict()["tokens"])[0]
        np.testing.assert_allclose(file["0"], expected.numpy(), rtol=0, atol=1e-6)


def test_an_archive_file_may_be_the_models_directory(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    archive = train(tmp_path, options=None, pretrained_file=None, archive_file=str(tmp_path / "model"))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["model"]["text_field_embedder"]["token_embedders"]["elmo"]["archive_file"]
    assert len(average_vectors(archive)) == len(SENTENCES)


def test_commands_that_need_the_input_of_bilm_tf_refuse_the_model(tmp_path: Path, monkeypatch, capsys) -> None:
    model, text = tmp_path / "model", write_text(tmp_path / "text.txt", SENTENCES)
    write_model(model)
    for command in (
        ["elmo-cache", tmp_path / "words.hdf5", "--model", model],
        ["elmo-neighbors", model, text, "--query", "mill", "the mill"],
        ["elmo-export", model, tmp_path / "exported"],
        ["elmo-import", model, tmp_path / "imported.tar.gz"],
    ):
        ended = run_command_to_its_end(monkeypatch, capsys, *command)
        message = f"{model}: must be a biLM of bilm-tf, got one of ELMoForManyLangs, which gives vectors only"
        assert ended.status == 1 and message in ended.err
