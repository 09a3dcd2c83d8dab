import dataclasses
import json

import h5py
import pytest
import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import Instance, Token, Vocabulary
from allennlp.data.fields import TextField
from allennlp.data.token_indexers import SingleIdTokenIndexer
from allennlp.models import Model
from allennlp.models.archival import archive_model
from allennlp.modules.elmo import Elmo, batch_to_ids

from allennlp_elmo_plus.data.text.vocabulary import read_vocabulary
from allennlp_elmo_plus.formats.export import allennlp_refusal, bilm_tf_refusal, export_model
from allennlp_elmo_plus.formats.pretrained import PretrainedModel, load_encoder
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.plugin.commands import elmo_export as export_command
from allennlp_elmo_plus.plugin.commands.elmo_export import difference_from_allennlp, difference_from_files
from allennlp_elmo_plus.plugin.modules.token_embedders.bilm_token_embedder import BilmTokenEmbedder
from tests.helpers.command_line import only_line
from tests.helpers.exportable_models import (
    FEW_CHARACTERS,
    FEW_FILTERS,
    MANY_CHARACTERS,
    NO_SKIP,
    ONE_DIRECTION,
    OPTIONS,
    USUAL,
    WORD_INPUT,
    changed,
    trained,
)
from tests.helpers.small_archives import WORDS, archived_files, calling, member, write_archive

MODELS = {
    "usual": USUAL,
    "tanh": changed("char_cnn", activation="tanh"),
    "no highway": changed("char_cnn", n_highway=0),
    "filters as wide as a word": changed("char_cnn", filters=[[1, 6], [50, 10]]),
    "no CNN projection": changed("char_cnn", filters=[[1, 8]]),
    "no LSTM projection, but a clip of it": changed("lstm", dim=8, proj_clip=0.01),
    "no clips": changed("lstm", cell_clip=None, proj_clip=None),
    "clips that take effect": changed("lstm", cell_clip=0.1, proj_clip=0.05),
    "one layer": changed("lstm", n_layers=1),
}


@pytest.mark.parametrize("name", MODELS)
def test_allennlps_elmo_computes_the_same(tmp_path, name):
    model = trained(MODELS[name])
    files = export_model(model, MODELS[name], WORDS, tmp_path)
    assert difference_from_allennlp(model, files) <= 1e-5


@pytest.mark.parametrize("dataset", ["CNN_high_0/b_carry", "RNN_1/RNN/MultiRNNCell/Cell1/LSTMCell/B"])
def test_a_difference_from_allennlp_is_found(tmp_path, dataset):
    model = trained(USUAL)
    files = export_model(model, USUAL, WORDS, tmp_path)
    with h5py.File(files.weights, "r+") as file:
        file[dataset][...] += 0.01
    assert difference_from_allennlp(model, files) > 1e-4


def test_a_difference_from_the_files_is_found(tmp_path):
    model = trained(WORD_INPUT)
    files = export_model(model, WORD_INPUT, WORDS, tmp_path)
    assert difference_from_files(model, files) == 0
    with h5py.File(files.weights, "r+") as file:
        file["embedding"][2] += 0.01
    assert difference_from_files(model, files) > 1e-4


def test_weights_that_are_no_numbers_are_a_difference(tmp_path):
    model = trained(WORD_INPUT)
    files = export_model(model, WORD_INPUT, WORDS, tmp_path)
    with torch.no_grad():
        # Only the last sentence has this word.
        model.token_encoder.embedding[WORDS.index("나비")] = float("nan")
    assert not difference_from_files(model, files) <= 1e-5


def test_word_vectors_of_sentence_boundaries_are_those_of_their_lines(tmp_path):
    """A vocabulary of bilm-tf may begin with `</S>`."""
    model, words = trained(WORD_INPUT), ["</S>", "the", "<S>", "<UNK>", "hen", "나비"]
    files = export_model(model, WORD_INPUT, words, tmp_path)
    assert difference_from_files(model, files) == 0
    encoder = load_encoder(WORD_INPUT, files.weights)
    assert encoder.boundary_ids.tolist() == [2, 0]
    layers, layout, _ = encoder(torch.tensor([[2]]))
    rows = layout.unpack(layers[0], keep_boundaries=True)[0, :, :8]
    torch.testing.assert_close(rows, model.token_encoder.embedding[[2, 1, 0]])


@pytest.mark.parametrize(
    "options, message", [(NO_SKIP, "only support pretrained biLMs with residual"), (WORD_INPUT, "char_embed")]
)
def test_allennlp_refuses_such_a_model(tmp_path, options, message):
    files = export_model(trained(options), options, WORDS, tmp_path)
    with pytest.raises((ConfigurationError, KeyError), match=message):
        Elmo(str(files.options), str(files.weights), 1)


@pytest.mark.parametrize("max_characters", [25, 40, 70])
def test_allennlp_loads_another_number_of_characters_and_fails_later(tmp_path, max_characters):
    options = changed("char_cnn", max_characters_per_token=max_characters)
    files = export_model(trained(options), options, WORDS, tmp_path)
    elmo = Elmo(str(files.options), str(files.weights), 1)
    with pytest.raises(RuntimeError, match="shape"):
        elmo(batch_to_ids([["the", "cat", "sat"]]))
    if max_characters == 25:
        # AllenNLP reads each word as two words and concatenates their vectors.
        token_encoder = elmo._elmo_lstm._token_embedder
        assert token_encoder(batch_to_ids([["the", "cat", "sat"]]))["token_embedding"].shape == (1, 5, 16)


@pytest.fixture
def export(run, monkeypatch, tmp_path):
    """Return a function that exports a model of some options from an archive to the directory `out`."""

    def run_export(options, model=None):
        loaded = PretrainedModel(model or trained(options), options, WORDS)
        monkeypatch.setattr(export_command, "load_language_model", lambda _: loaded)
        (tmp_path / "model.tar.gz").write_bytes(b"\x1f\x8b")
        return run("elmo-export", tmp_path / "model.tar.gz", tmp_path / "out")

    return run_export


def test_the_command_prints_the_files_and_the_difference(export, tmp_path):
    lines = export(USUAL).out.splitlines()
    assert lines[:3] == [f"wrote {tmp_path / 'out' / name}" for name in ("options.json", "weights.hdf5", "vocab.txt")]
    assert lines[3].startswith("largest difference from AllenNLP's Elmo, in 4 sentences: ")
    assert float(lines[3].rsplit(" ", 1)[1]) <= 1e-5
    assert read_vocabulary(tmp_path / "out" / "vocab.txt") == WORDS


@pytest.mark.parametrize("options", [NO_SKIP, WORD_INPUT, FEW_CHARACTERS, MANY_CHARACTERS])
def test_files_that_allennlp_cannot_use_are_compared_with_the_model(export, tmp_path, options):
    ended = export(options)
    assert "largest difference from the written files, in 4 sentences: 0.00e+00" in ended.out
    assert f"AllenNLP's Elmo cannot use these files: {allennlp_refusal(options)}; bilm-tf can\n" in ended.err
    assert ("it loads them without an error, then fails" in ended.err) == (options in (FEW_CHARACTERS, MANY_CHARACTERS))
    assert BiLMOptions.from_file(tmp_path / "out" / "options.json").char_cnn == options.char_cnn


def test_files_that_bilm_tf_cannot_use_are_reported(export):
    ended = export(FEW_FILTERS)
    assert "largest difference from AllenNLP's Elmo, in 4 sentences" in ended.out
    assert f"bilm-tf cannot use these files: {bilm_tf_refusal(FEW_FILTERS)}; AllenNLP's Elmo can\n" in ended.err


@pytest.mark.parametrize("difference", [2e-5, float("nan")])
def test_the_command_fails_if_the_files_differ(export, monkeypatch, difference):
    monkeypatch.setattr(export_command, "difference_from_allennlp", lambda *_: difference)
    ended = export(USUAL)
    assert ended.status == 1
    assert only_line(ended.err) == "the files differ from the model by more than 1e-05: do not use them"


def test_only_a_trained_softmax_is_written(export, tmp_path):
    model = trained(USUAL)
    assert "no softmax" not in export(USUAL, model).out
    with h5py.File(tmp_path / "out" / "weights.hdf5") as file:
        assert torch.equal(torch.from_numpy(file["softmax/W"][...]), model.softmax.weight)
    for parameter in model.softmax.parameters():
        torch.nn.init.zeros_(parameter)
    assert "the model was imported without a softmax" in export(USUAL, model).out
    with h5py.File(tmp_path / "out" / "weights.hdf5") as file:
        assert "softmax" not in file and "char_embed" in file


@pytest.mark.parametrize(
    "files, more, message",
    [
        (None, (), "there is no such file or directory"),
        (
            archived_files(OPTIONS, model_type="simple_tagger"),
            (),
            "its `config.json` must have a `model` of type `bilm`, as pretraining writes it",
        ),
        (archived_files(OPTIONS), (member("../x"),), "the member '../x' must have a relative path without `..`"),
        (
            {**archived_files(OPTIONS), "weights.th": calling(print, "run")},
            (),
            "its `weights.th` must hold nothing but tensors of floating-point numbers, ",
        ),
    ],
)
def test_an_archive_that_cannot_be_exported_is_refused_in_one_line(run, tmp_path, files, more, message):
    path = tmp_path / "model.tar.gz"
    if files is not None:
        write_archive(path, files, more)
    ended = run("elmo-export", path, tmp_path / "out")
    assert (ended.status, ended.out) == (1, "")
    assert only_line(ended.err).startswith(f"error: {path}: {message}")
    assert not (tmp_path / "out").exists()


def test_options_that_cannot_be_exported_are_refused_in_one_line(export, tmp_path):
    ended = export(ONE_DIRECTION)
    assert ended.status == 1
    assert only_line(ended.err).startswith("error: cannot be exported: `bidirectional` must be true")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """Return the directory of a run with the model.tar.gz that AllenNLP writes, and the model."""
    directory = tmp_path_factory.mktemp("pretrained")
    # The most frequent word first, so that counting gives the order of WORDS.
    words = [word for rank, word in enumerate(WORDS[3:]) for _ in range(len(WORDS) - rank)]
    source = TextField([Token(word) for word in words], {"tokens": SingleIdTokenIndexer()})
    vocab = Vocabulary.from_params(Params({"type": "bilm"}), instances=[Instance({"source": source})])
    model_config = {"type": "bilm", **OPTIONS, "sample_softmax": False}
    model = Model.from_params(Params({**model_config}), vocab=vocab)
    model.language_model.load_state_dict(trained(USUAL).state_dict())
    config = {"dataset_reader": {"type": "bilm"}, "vocabulary": {"type": "bilm"}, "model": model_config}
    (directory / "config.json").write_text(json.dumps(config))
    vocab.save_to_files(str(directory / "vocabulary"))
    torch.save(model.state_dict(), directory / "best.th")
    archive_model(directory)
    return directory, model


def test_the_archive_of_a_run_is_exported(run, pretrained, tmp_path):
    directory, model = pretrained
    ended = run("elmo-export", directory, tmp_path / "out")
    assert "largest difference from AllenNLP's Elmo, in 4 sentences: " in ended.out
    assert read_vocabulary(tmp_path / "out" / "vocab.txt") == WORDS
    options = dataclasses.replace(model.options, n_tokens_vocab=len(WORDS))
    assert BiLMOptions.from_file(tmp_path / "out" / "options.json") == options
    options_file, weight_file = str(tmp_path / "out" / "options.json"), str(tmp_path / "out" / "weights.hdf5")
    ids = batch_to_ids([["the", "cat"], ["the"]])
    from_files = BilmTokenEmbedder(options_file=options_file, weight_file=weight_file).eval()(ids)
    from_archive = BilmTokenEmbedder(archive_file=str(directory / "model.tar.gz")).eval()(ids)
    torch.testing.assert_close(from_files, from_archive)


def test_exported_files_are_exported_as_their_archive_is(run, pretrained, tmp_path):
    directory, _ = pretrained
    assert run("elmo-export", directory / "model.tar.gz", tmp_path / "out").status == 0
    assert run("elmo-export", tmp_path / "out", tmp_path / "again").status == 0
    for name in ("vocab.txt", "options.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
