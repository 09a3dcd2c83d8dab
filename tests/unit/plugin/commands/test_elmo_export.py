import argparse
import dataclasses
import json
from pathlib import Path

import h5py
import pytest
import torch
from allennlp.commands.subcommand import Subcommand
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError as AllenNLPConfigurationError
from allennlp.data import Instance, Token
from allennlp.data import Vocabulary as AllenNLPVocabulary
from allennlp.data.fields import TextField
from allennlp.data.token_indexers import SingleIdTokenIndexer
from allennlp.models import Model as AllenNLPModel
from allennlp.models.archival import archive_model
from allennlp.modules.elmo import Elmo, batch_to_ids

from allennlp_elmo_plus.data.text.vocabulary import read_vocabulary
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.export import allennlp_refusal, bilm_tf_refusal, export_model
from allennlp_elmo_plus.formats.pretrained import PretrainedModel, load_encoder
from allennlp_elmo_plus.modules.build import build_language_model
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.plugin.commands import elmo_export as export_command
from allennlp_elmo_plus.plugin.commands.elmo_export import difference_read_again, export_from_args, largest_difference
from allennlp_elmo_plus.plugin.modules.token_embedders.bilm_token_embedder import BilmTokenEmbedder
from tests.helpers.small_archives import (
    archived_files,
    calling,
    member,
    write_archive,
)
from tests.helpers.small_text import small_model_config

OPTIONS = {
    "bidirectional": True,
    "char_cnn": {"activation": "relu", "embedding": {"dim": 4}, "filters": [[1, 6], [2, 10]], "n_highway": 1},
    "lstm": {**small_model_config()["lstm"], "dim": 12},
    "dropout": 0.1,
}
WORDS = ["<S>", "</S>", "<UNK>", "the", "cat", "나비"]


def changed(section, **values):
    return BiLMOptions.from_dict({**OPTIONS, section: {**OPTIONS[section], **values}})


MODELS = {
    "usual": BiLMOptions.from_dict(OPTIONS),
    "tanh": changed("char_cnn", activation="tanh"),
    "no highway": changed("char_cnn", n_highway=0),
    "filters as wide as a word": changed("char_cnn", filters=[[1, 6], [50, 10]]),
    "no CNN projection": changed("char_cnn", filters=[[1, 8]]),
    "no LSTM projection, but a clip of it": changed("lstm", dim=8, proj_clip=0.01),
    "no clips": changed("lstm", cell_clip=None, proj_clip=None),
    "clips that bite": changed("lstm", cell_clip=0.1, proj_clip=0.05),
    "one layer": changed("lstm", n_layers=1),
}


def trained(options):
    """A model with weights as large as training makes them: at its first values a wrong gate hardly shows."""
    torch.manual_seed(4)
    model = build_language_model(options, len(WORDS))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


@pytest.mark.parametrize("name", MODELS)
def test_allennlps_elmo_computes_what_the_model_does(tmp_path, name):
    model = trained(MODELS[name])
    files = export_model(model, MODELS[name], WORDS, tmp_path / "new" / "directory")
    assert model.training
    assert largest_difference(model, files) <= 1e-5
    assert model.training
    assert sorted(path.name for path in files.options.parent.iterdir()) == ["options.json", "vocab.txt", "weights.hdf5"]


def test_a_difference_is_seen(tmp_path):
    model = trained(MODELS["usual"])
    files = export_model(model, MODELS["usual"], WORDS, tmp_path)
    for dataset in ("CNN_high_0/b_carry", "RNN_1/RNN/MultiRNNCell/Cell1/LSTMCell/B"):
        files = export_model(model, MODELS["usual"], WORDS, tmp_path)
        with h5py.File(files.weights, "r+") as file:
            file[dataset][...] += 0.01
        assert largest_difference(model, files) > 1e-4


def test_options_and_vocabulary_say_what_the_model_is(tmp_path):
    files = export_model(trained(MODELS["usual"]), MODELS["usual"], WORDS, tmp_path)
    mapping = json.loads(files.options.read_text())
    assert mapping["char_cnn"]["n_characters"] == 262
    assert mapping["n_tokens_vocab"] == len(WORDS)
    assert BiLMOptions.from_file(files.options) == dataclasses.replace(MODELS["usual"], n_tokens_vocab=len(WORDS))
    assert read_vocabulary(files.vocabulary) == WORDS


NO_SKIP = changed("lstm", use_skip_connections=False)
FEW_FILTERS = changed("char_cnn", filters=[[1, 7]])
WORD_INPUT = BiLMOptions.from_dict({**OPTIONS, "char_cnn": None})
FEW_CHARACTERS = changed("char_cnn", max_characters_per_token=40)
MANY_CHARACTERS = changed("char_cnn", max_characters_per_token=70)


@pytest.mark.parametrize(
    "options, message",
    [
        (changed("lstm", cell="gru", cell_clip=None), "`lstm.cell` must be left out, as neither loader knows it"),
        (changed("lstm", layer_norm=True), "`lstm.layer_norm` must be left out, as neither loader knows it"),
        (
            BiLMOptions.from_dict({**OPTIONS, "bidirectional": False}),
            "`bidirectional` must be true, as it reads two directions$",
        ),
        (
            changed("char_cnn", filters=[[1, 7]], max_characters_per_token=40),
            "for bilm-tf's loader `char_cnn.filters` must number at least `lstm.projection_dim`, which is 8, got 7; "
            "for AllenNLP's `char_cnn.max_characters_per_token` must be 50, the width of its indexer, got 40$",
        ),
        (
            BiLMOptions.from_dict({**OPTIONS, "char_cnn": None, "bidirectional": False}),
            "for bilm-tf's loader `bidirectional` must be true, .*; for AllenNLP's `char_cnn` must be given",
        ),
    ],
)
def test_a_model_that_no_loader_can_hold_is_refused_by_name(tmp_path, options, message):
    with pytest.raises(InputError, match=f"^cannot be exported: {message}"):
        export_model(trained(options), options, WORDS, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options, allennlp, bilm_tf",
    [
        (MODELS["usual"], None, None),
        (NO_SKIP, "`lstm.use_skip_connections` must be true", None),
        (WORD_INPUT, "`char_cnn` must be given, as it reads characters only", None),
        (FEW_CHARACTERS, "`char_cnn.max_characters_per_token` must be 50, the width of its indexer, got 40", None),
        (FEW_FILTERS, None, "`char_cnn.filters` must number at least `lstm.projection_dim`, which is 8, got 7"),
    ],
    ids=["usual", "no skip connections", "words", "40 characters", "few filters"],
)
def test_which_loader_can_hold_a_model(options, allennlp, bilm_tf):
    assert (allennlp_refusal(options), bilm_tf_refusal(options)) == (allennlp, bilm_tf)


def test_allennlp_refuses_what_it_is_said_to(tmp_path):
    for options, error in ((NO_SKIP, "only support pretrained biLMs with residual"), (WORD_INPUT, "char_embed")):
        files = export_model(trained(options), options, WORDS, tmp_path)
        with pytest.raises((AllenNLPConfigurationError, KeyError), match=error):
            Elmo(str(files.options), str(files.weights), 1)


@pytest.mark.parametrize("max_characters", [25, 40, 70])
def test_allennlp_loads_another_number_of_characters_and_fails_later(tmp_path, max_characters):
    """What the command says of it."""
    options = changed("char_cnn", max_characters_per_token=max_characters)
    files = export_model(trained(options), options, WORDS, tmp_path)
    elmo = Elmo(str(files.options), str(files.weights), 1)
    with pytest.raises(RuntimeError, match="shape"):
        elmo(batch_to_ids([["the", "cat", "sat"]]))
    if max_characters == 25:
        # Each word is read as two, and their vectors are put side by side.
        token_encoder = elmo._elmo_lstm._token_embedder
        assert token_encoder(batch_to_ids([["the", "cat", "sat"]]))["token_embedding"].shape == (1, 5, 16)


@pytest.mark.parametrize("options", [NO_SKIP, WORD_INPUT, FEW_CHARACTERS, MANY_CHARACTERS])
def test_what_allennlp_cannot_use_is_read_again_instead(monkeypatch, tmp_path, capsys, options):
    run(monkeypatch, options, tmp_path)
    out, err = capsys.readouterr()
    assert "largest difference of the files read again, on 4 sentences: 0.00e+00" in out
    assert f"AllenNLP's Elmo cannot use these files: {allennlp_refusal(options)}; bilm-tf and this package can" in err
    assert ("loads them without a word, and at the first text fails" in err) == (
        options in (FEW_CHARACTERS, MANY_CHARACTERS)
    )
    assert BiLMOptions.from_file(tmp_path / "out" / "options.json").char_cnn == options.char_cnn


def test_what_bilm_tf_cannot_use_is_said(monkeypatch, tmp_path, capsys):
    run(monkeypatch, FEW_FILTERS, tmp_path)
    out, err = capsys.readouterr()
    assert "largest difference from AllenNLP's Elmo on 4 sentences" in out
    assert (
        f"bilm-tf cannot use these files: {bilm_tf_refusal(FEW_FILTERS)}; AllenNLP's Elmo and this package can" in err
    )


def test_a_file_that_reads_differently_is_seen(tmp_path):
    model = trained(WORD_INPUT)
    files = export_model(model, WORD_INPUT, WORDS, tmp_path)
    assert difference_read_again(model, files) == 0
    with h5py.File(files.weights, "r+") as file:
        file["embedding"][3] += 0.01
    assert difference_read_again(model, files) > 1e-4


def test_word_vectors_of_sentence_boundaries_are_those_of_their_lines(tmp_path):
    """A vocabulary of bilm-tf may begin with `</S>`."""
    model, words = trained(WORD_INPUT), ["</S>", "the", "<S>", "<UNK>", "cat", "나비"]
    files = export_model(model, WORD_INPUT, words, tmp_path)
    assert difference_read_again(model, files) == 0
    encoder = load_encoder(WORD_INPUT, files.weights)
    assert encoder.boundary_ids.tolist() == [2, 0]
    layers, layout, _ = encoder(torch.tensor([[2]]))
    rows = layout.unpack(layers[0], keep_boundaries=True)[0, :, :8]
    torch.testing.assert_close(rows, model.token_encoder.embedding[[2, 1, 0]])


def test_the_softmax_is_kept_where_it_was_trained(monkeypatch, tmp_path, capsys):
    model = trained(MODELS["usual"])
    run(monkeypatch, MODELS["usual"], tmp_path, model)
    with h5py.File(tmp_path / "out" / "weights.hdf5") as file:
        assert torch.equal(torch.from_numpy(file["softmax/W"][...]), model.softmax.weight)
    assert "no softmax" not in capsys.readouterr().out
    for parameter in model.softmax.parameters():
        torch.nn.init.zeros_(parameter)
    run(monkeypatch, MODELS["usual"], tmp_path, model)
    with h5py.File(tmp_path / "out" / "weights.hdf5") as file:
        assert "softmax" not in file and "char_embed" in file
    assert "the model has no softmax" in capsys.readouterr().out


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: cannot be created: File exists"):
        export_model(trained(MODELS["usual"]), MODELS["usual"], WORDS, tmp_path / "file")


def arguments(archive_file, directory):
    return argparse.Namespace(archive_file=str(archive_file), output_directory=str(directory), vocab_file=None)


def run(monkeypatch, options, directory, model=None):
    loaded = PretrainedModel(model or trained(options), options, WORDS)
    monkeypatch.setattr(export_command, "load_language_model", lambda _: loaded)
    archive_file = directory / "model.tar.gz"
    archive_file.write_bytes(b"\x1f\x8b")
    export_from_args(arguments(archive_file, directory / "out"))


def test_the_command_reports_the_files_and_the_difference(monkeypatch, tmp_path, capsys):
    run(monkeypatch, MODELS["usual"], tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [f"wrote {tmp_path / 'out' / name}" for name in ("options.json", "weights.hdf5", "vocab.txt")]
    assert lines[3].startswith("largest difference from AllenNLP's Elmo on 4 sentences: ")
    assert float(lines[3].rsplit(" ", 1)[1]) <= 1e-5
    assert read_vocabulary(tmp_path / "out" / "vocab.txt") == WORDS


@pytest.mark.parametrize("difference", [2e-5, float("nan")])
def test_the_command_fails_where_the_files_differ(monkeypatch, tmp_path, difference):
    monkeypatch.setattr(export_command, "largest_difference", lambda *_: difference)
    with pytest.raises(SystemExit) as exit:
        run(monkeypatch, MODELS["usual"], tmp_path)
    assert exit.value.code == "the files differ from the model by more than 1e-05: do not use them"


def test_weights_that_are_no_numbers_are_a_difference(tmp_path):
    model = trained(MODELS["usual"])
    files = export_model(model, MODELS["usual"], WORDS, tmp_path)
    with torch.no_grad():
        model.bilm.forward_layers[0].bias[3] = float("nan")
    assert not largest_difference(model, files) <= 1e-5


def failure(archive_file, directory):
    with pytest.raises(SystemExit) as exit:
        export_from_args(arguments(archive_file, directory))
    beginning = f"error: {archive_file}: "
    assert exit.value.code.startswith(beginning) and len(exit.value.code.splitlines()) == 1
    return exit.value.code.removeprefix(beginning)


def test_the_command_refuses_what_it_cannot_export_in_one_line(monkeypatch, tmp_path, capsys):
    path, out = tmp_path / "model.tar.gz", tmp_path / "out"
    assert failure(path, out) == "there is no such file or directory"
    write_archive(path, archived_files(OPTIONS, model_type="simple_tagger"))
    assert (
        failure(path, out)
        == "its `config.json` must have a `model` of type `bilm`, as pretraining writes it, got 'simple_tagger'"
    )
    write_archive(path, archived_files(OPTIONS), (member("../x"),))
    assert failure(path, out) == "the member '../x' must have a relative path without `..`"
    write_archive(path, {**archived_files(OPTIONS), "weights.th": calling(print, "run")})
    assert failure(path, out).startswith("its `weights.th` must hold nothing but tensors of floating-point numbers, ")
    assert not out.exists() and capsys.readouterr().out == ""
    with pytest.raises(SystemExit) as exit:
        run(monkeypatch, BiLMOptions.from_dict({**OPTIONS, "bidirectional": False}), tmp_path)
    assert exit.value.code.startswith(f"error: {path}: cannot be exported: `bidirectional` must be true")


def test_the_directory_of_a_run_and_an_export_are_exported_as_the_archive_is(pretrained, tmp_path, capsys):
    archive_file, _ = pretrained
    sources = {"archive": Path(archive_file), "run": Path(archive_file).parent, "again": tmp_path / "archive"}
    for name, source in sources.items():
        export_from_args(arguments(source, tmp_path / name))
    for name in ("vocab.txt", "weights.hdf5", "options.json"):
        contents = {(tmp_path / directory / name).read_bytes() for directory in ("archive", "run")}
        assert len(contents) == 1
    for name in ("vocab.txt", "options.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "archive" / name).read_bytes()


def test_the_command_is_found_by_its_name_and_shows_an_example(capsys):
    parser = argparse.ArgumentParser("allennlp")
    Subcommand.by_name("elmo-export")().add_subparser(parser.add_subparsers())
    with pytest.raises(SystemExit) as exit:
        parser.parse_args(["elmo-export", "--help"])
    assert exit.value.code == 0
    assert "allennlp elmo-export runs/bilm/model.tar.gz exported/" in capsys.readouterr().out
    args = parser.parse_args(["elmo-export", "model.tar.gz", "out"])
    assert (args.func, args.archive_file, args.output_directory) == (export_from_args, "model.tar.gz", "out")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A model.tar.gz as AllenNLP leaves it, and the model in it."""
    directory = tmp_path_factory.mktemp("pretrained")
    vocab = vocabulary_of_words()
    model_config = {"type": "bilm", **OPTIONS, "sample_softmax": False}
    model = AllenNLPModel.from_params(Params({**model_config}), vocab=vocab)
    model.language_model.load_state_dict(trained(MODELS["usual"]).state_dict())
    config = {"dataset_reader": {"type": "bilm"}, "vocabulary": {"type": "bilm"}, "model": model_config}
    (directory / "config.json").write_text(json.dumps(config))
    vocab.save_to_files(str(directory / "vocabulary"))
    torch.save(model.state_dict(), directory / "best.th")
    return archive_model(directory), model


def vocabulary_of_words():
    # The commonest word first, so that counting gives the order of WORDS.
    words = [word for rank, word in enumerate(WORDS[3:]) for _ in range(len(WORDS) - rank)]
    source = TextField([Token(word) for word in words], {"tokens": SingleIdTokenIndexer()})
    return AllenNLPVocabulary.from_params(Params({"type": "bilm"}), instances=[Instance({"source": source})])


def test_the_archive_of_a_real_model_is_exported(pretrained, tmp_path, capsys):
    archive_file, model = pretrained
    export_from_args(arguments(archive_file, tmp_path))
    assert "largest difference from AllenNLP's Elmo on 4 sentences: " in capsys.readouterr().out
    assert read_vocabulary(tmp_path / "vocab.txt") == WORDS
    assert BiLMOptions.from_file(tmp_path / "options.json") == dataclasses.replace(
        model.options, n_tokens_vocab=len(WORDS)
    )
    options_file, weight_file = str(tmp_path / "options.json"), str(tmp_path / "weights.hdf5")
    ids = batch_to_ids([["the", "cat"], ["the"]])
    from_files = BilmTokenEmbedder(options_file=options_file, weight_file=weight_file).eval()(ids)
    from_archive = BilmTokenEmbedder(archive_file=archive_file).eval()(ids)
    torch.testing.assert_close(from_files, from_archive)
