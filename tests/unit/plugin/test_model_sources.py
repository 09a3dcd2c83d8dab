"""The commands, the token embedder and the model take a biLM in every form."""

import argparse
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from allennlp.commands.subcommand import Subcommand
from allennlp.data import Vocabulary
from allennlp.models.archival import load_archive
from allennlp.modules.elmo import batch_to_ids

from allennlp_elmo_plus import ElmoEmbedder
from allennlp_elmo_plus.formats.model_files import ModelSource
from allennlp_elmo_plus.formats.pretrained import load_language_model
from allennlp_elmo_plus.modules.language_model import LanguageModel
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.plugin.data.vocabulary import BilmVocabulary
from allennlp_elmo_plus.plugin.models.bilm_model import BilmModel
from allennlp_elmo_plus.plugin.modules.token_embedders.bilm_token_embedder import BilmTokenEmbedder
from tests.helpers.command_line import only_line, run_command, run_command_to_its_end
from tests.helpers.small_models import VOCABULARY, small_model, small_options
from tests.helpers.small_text import write_text
from tests.helpers.stored_bilms import FORMS, write_form

SENTENCES = [["the", "river", "rises", "."], ["mill"]]
# The width of the indexers.
OPTIONS = {**small_options().to_dict(inference=False), "dropout": 0.0}
OPTIONS["char_cnn"] = {**OPTIONS["char_cnn"], "max_characters_per_token": 50}
# Those that one path names.
NAMED_BY_A_PATH = [form for form in FORMS if form not in ("pair", "softmax apart")]


def trained() -> LanguageModel:
    model = small_model(char_cnn=OPTIONS["char_cnn"]).float()
    with torch.no_grad():
        model.softmax.bias.normal_()
    return model.eval()


def options() -> BiLMOptions:
    return BiLMOptions.from_dict(OPTIONS, inference=False)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    source = write_form(tmp_path_factory.mktemp("expected"), "archive", trained(), options())
    return ElmoEmbedder.from_pretrained(source.path).embed_batch(SENTENCES)


@pytest.mark.parametrize("form", FORMS)
def test_the_embedder_and_the_token_embedder_take_every_form(tmp_path, form, expected):
    source = write_form(tmp_path, form, trained(), options())
    embedder = ElmoEmbedder.from_pretrained(source.path, source.weight_file, source.vocab_file)
    for vectors, array in zip(embedder.embed_batch(SENTENCES), expected, strict=True):
        np.testing.assert_array_equal(vectors, array)
    if form == "pair":
        arguments = {"options_file": str(source.path), "weight_file": str(source.weight_file)}
    else:
        arguments = {"archive_file": str(source.path)}
    top = torch.from_numpy(expected[0][-1]).unsqueeze(0)
    vectors = BilmTokenEmbedder(**arguments, use_top_only=True).eval()(batch_to_ids(SENTENCES[:1]))
    torch.testing.assert_close(vectors, top)


@pytest.mark.parametrize("form", NAMED_BY_A_PATH)
def test_the_model_starts_from_every_form(tmp_path, form):
    source, old = write_form(tmp_path, form, trained(), options()), trained()
    (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in VOCABULARY))
    vocabulary: Vocabulary = BilmVocabulary.from_text([], vocab_file=str(tmp_path / "vocab.txt"))
    model = BilmModel(vocabulary, **{**OPTIONS, "sample_softmax": False}, pretrained_file=str(source.path))
    for name, value in model.language_model.state_dict().items():
        assert torch.equal(value, old.state_dict()[name]), name


@pytest.mark.parametrize("form", FORMS)
def test_elmo_import_takes_every_form(tmp_path, monkeypatch, capsys, form):
    source, old = write_form(tmp_path, form, trained(), options()), trained()
    archive = tmp_path / "imported.tar.gz"
    arguments = [] if source.weight_file is None else [source.weight_file]
    for option, path in (("--vocab-file", source.vocab_file), ("--softmax-file", source.softmax_file)):
        arguments += [] if path is None else [option, path]
    position = 0 if source.weight_file is None else 1
    command = [source.path, *arguments[:position], archive, *arguments[position:]]
    ended = run_command(monkeypatch, capsys, "elmo-import", *command)
    assert ended.status == 0 and "no softmax" not in ended.err
    state = load_archive(archive).model.language_model.state_dict()
    assert all(torch.equal(value, old.state_dict()[name]) for name, value in state.items())


@pytest.mark.parametrize(
    "arguments, paths",
    [
        ("--vocab-file vocab.txt options.json weights.hdf5 out.tar.gz", ("options.json", "weights.hdf5", "out.tar.gz")),
        ("options.json weights.hdf5 --vocab-file vocab.txt out.tar.gz", ("options.json", "weights.hdf5", "out.tar.gz")),
        ("model.zip --vocab-file vocab.txt out.tar.gz", ("model.zip", None, "out.tar.gz")),
        ("model.zip out.tar.gz --vocab-file vocab.txt", ("model.zip", None, "out.tar.gz")),
    ],
)
def test_elmo_import_takes_two_or_three_paths_with_options_anywhere(arguments, paths):
    parser = argparse.ArgumentParser("allennlp")
    Subcommand.by_name("elmo-import")().add_subparser(parser.add_subparsers())
    args = parser.parse_args(["elmo-import", *arguments.split()])
    assert (args.source, args.weight_file, args.archive_file, args.vocab_file) == (*paths, "vocab.txt")


@pytest.mark.parametrize("form", NAMED_BY_A_PATH)
def test_elmo_export_takes_every_form(tmp_path, monkeypatch, capsys, form):
    source, old = write_form(tmp_path, form, trained(), options()), trained()
    ended = run_command(monkeypatch, capsys, "elmo-export", source.path, tmp_path / "out")
    assert ended.status == 0 and "largest difference from AllenNLP's Elmo" in ended.out
    read = load_language_model(ModelSource(tmp_path / "out"))
    assert read.vocabulary == VOCABULARY
    assert all(torch.equal(value, old.state_dict()[name]) for name, value in read.model.state_dict().items())


def test_elmo_export_takes_the_vocabulary_apart(tmp_path, monkeypatch, capsys):
    source = write_form(tmp_path, "training", trained(), options()).path
    (source / "vocab.txt").rename(tmp_path / "words.txt")
    ended = run_command_to_its_end(monkeypatch, capsys, "elmo-export", source, tmp_path / "out")
    assert ended.status == 1 and "needs its vocabulary" in only_line(ended.err)
    ended = run_command(
        monkeypatch, capsys, "elmo-export", source, tmp_path / "out", "--vocab-file", tmp_path / "words.txt"
    )
    assert ended.status == 0
    assert load_language_model(tmp_path / "out").vocabulary == VOCABULARY


@pytest.mark.parametrize("form", NAMED_BY_A_PATH)
def test_the_other_commands_take_every_form(tmp_path, monkeypatch, capsys, form):
    source = write_form(tmp_path, form, trained(), options()).path
    text = write_text(tmp_path / "text.txt", SENTENCES)
    for arguments in (
        ("elmo", text, tmp_path / "vectors.hdf5", "--all", "--model", source),
        ("elmo-cache", tmp_path / "words.hdf5", "--model", source),
        ("elmo-neighbors", source, text, "--query", "river", "the river rises"),
    ):
        ended = run_command(monkeypatch, capsys, *arguments)
        assert ended.status == 0, ended.err
    assert "12 words" in run_command(monkeypatch, capsys, "elmo-cache", tmp_path / "w.hdf5", "--model", source).out


def test_the_perplexity_is_that_of_bilm_tf(shared_data: Path, tmp_path, monkeypatch, capsys):
    sample = shared_data / "released_formats" / "bilm_tf_checkpoint"
    if not sample.is_dir():
        pytest.skip(f"the sample of bilm-tf is absent: {sample}")
    archive, metrics = tmp_path / "imported.tar.gz", tmp_path / "metrics.json"
    assert run_command(monkeypatch, capsys, "elmo-import", sample, archive).status == 0
    text = sample / "answers" / "heldout.txt"
    assert run_command(monkeypatch, capsys, "evaluate", archive, text, "--output-file", metrics).status == 0
    # What bilm-tf itself computes with a batch of one lane.
    assert json.loads(metrics.read_text())["perplexity"] == pytest.approx(107.149, abs=5e-4)
    with tarfile.open(archive) as file:
        assert "vocabulary/tokens.txt" in file.getnames()
