"""Files of bilm-tf and AllenNLP as archives of the model `bilm`, through the command `elmo-import`."""

import argparse
import json
import logging
import os
import re
import shutil
import tarfile
from pathlib import Path

import h5py
import pytest
import torch
from allennlp.commands.subcommand import Subcommand
from allennlp.data import Token
from allennlp.models.archival import load_archive
from allennlp.modules.elmo import Elmo, batch_to_ids
from allennlp.predictors import Predictor

import allennlp_elmo_plus.plugin  # noqa: F401
from allennlp_elmo_plus.formats.bilm_tf_hdf5 import write_weights
from allennlp_elmo_plus.formats.export import export_model
from allennlp_elmo_plus.formats.name_table import placeholder_table
from allennlp_elmo_plus.modules.build import build_language_model
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.plugin.commands import elmo_import as import_command
from allennlp_elmo_plus.plugin.commands.elmo_import import import_from_args
from allennlp_elmo_plus.plugin.modules.token_embedders.bilm_token_embedder import BilmTokenEmbedder
from tests.helpers.command_line import Ended, only_line, run_command
from tests.helpers.small_encoders import (
    VARIANTS,
    edit,
    options_of,
    random_encoder,
)
from tests.helpers.small_text import SENTENCES, write_text

FIXTURES = Path(__file__).resolve().parents[4] / "fixtures"
WORDS = ["</S>", "<S>", "<UNK>", "the", "river", "rises", "mill", "turns", "and", "falls", "나비"]


def run_import(capsys: pytest.CaptureFixture, *arguments: object) -> Ended:
    """`allennlp elmo-import ARGUMENTS`, without AllenNLP's search for plugins at each call."""
    parser = argparse.ArgumentParser("allennlp")
    Subcommand.by_name("elmo-import")().add_subparser(parser.add_subparsers())
    capsys.readouterr()
    status: object = 0
    try:
        args = parser.parse_args(["elmo-import", *map(str, arguments)])
        args.func(args)
    except SystemExit as leaving:
        status = leaving.code
    captured = capsys.readouterr()
    if isinstance(status, str):
        return Ended(1, captured.out, f"{captured.err}{status}\n")
    return Ended(int(status or 0), captured.out, captured.err)


def files_of(directory: Path, variant: str) -> tuple[Path, Path, Path]:
    """options.json, weights.hdf5 and vocab.txt of a small encoder without a softmax, as bilm-tf leaves them."""
    options = options_of(variant)
    mapping = options.to_dict()
    for clip in ("cell_clip", "proj_clip"):
        if mapping["lstm"][clip] is None:
            del mapping["lstm"][clip]
    write_weights(directory / "weights.hdf5", random_encoder(options), options)
    (directory / "options.json").write_text(json.dumps(mapping))
    (directory / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS), encoding="utf-8")
    return directory / "options.json", directory / "weights.hdf5", directory / "vocab.txt"


@pytest.mark.parametrize("variant", [*VARIANTS, "no skip connections", "tanh", "one layer, unwrapped"])
def test_what_allennlps_loader_refuses_is_imported_too(tmp_path, monkeypatch, capsys, variant):
    changes = {
        "no skip connections": {"lstm": {"dim": 10, "projection_dim": 5, "n_layers": 2}},
        "tanh": {"char_cnn": {"activation": "tanh", "embedding": {"dim": 3}, "filters": [[1, 4], [2, 6]]}},
        "one layer, unwrapped": VARIANTS["one layer"],
    }
    if variant in changes:
        monkeypatch.setitem(VARIANTS, variant, changes[variant])
    options_file, weight_file, vocab_file = files_of(tmp_path, variant)
    if variant == "one layer, unwrapped":
        for direction in range(2):
            old = f"RNN_{direction}/RNN/MultiRNNCell/Cell0/LSTMCell"
            edit(weight_file, lambda file, old=old: file.move(old, old.replace("MultiRNNCell/Cell0/", "")))
    if "no " in variant:
        # bilm-tf writes no stand-ins for the projections it does not have.
        edit(weight_file, lambda file: [file.__delitem__(name) for name in stand_ins(file, options_of(variant))])
    archive = tmp_path / "imported.tar.gz"
    vocabulary = ["--vocab-file", vocab_file] if options_of(variant).char_cnn is None else []
    ended = run_import(capsys, options_file, weight_file, archive, *vocabulary)
    assert ended.status == 0 and ended.out == f"wrote {archive}\n"
    assert f"{weight_file} has no softmax: the archive gives word vectors and can be fine-tuned" in ended.err
    model = load_archive(archive).model
    expected = random_encoder(options_of(variant)).state_dict()
    expected.pop("boundary_ids", None)
    for name, value in expected.items():
        assert torch.equal(model.language_model.state_dict()[name], value), name
    assert model.options.lstm == options_of(variant).lstm
    assert model.options.bidirectional == options_of(variant).bidirectional
    assert model.language_model.softmax.is_zero_initialized
    assert sorted(os.listdir(tmp_path)) == ["imported.tar.gz", "options.json", "vocab.txt", "weights.hdf5"]


def stand_ins(file: h5py.File, options: BiLMOptions) -> list[str]:
    return [row.dataset for row in placeholder_table(options) if row.dataset in file]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the fixture's files, which this package had no part in making."""
    path = tmp_path_factory.mktemp("imported") / "model.tar.gz"
    files = {"source": str(FIXTURES / "options.json"), "weight_file": str(FIXTURES / "weights.hdf5")}
    import_from_args(argparse.Namespace(**files, archive_file=str(path), vocab_file=None, softmax_file=None))
    return path


def test_vectors_are_those_of_allennlp(imported):
    elmo = Elmo(str(FIXTURES / "options.json"), str(FIXTURES / "weights.hdf5"), 1, dropout=0).eval()
    embedder = BilmTokenEmbedder(archive_file=str(imported)).eval()
    ids = batch_to_ids([["The", "harbour", "froze"], ["나비"]])
    expected = elmo(ids)["elmo_representations"][0]
    torch.testing.assert_close(embedder(ids), expected, rtol=0, atol=1e-5)


def test_evaluate_says_that_the_figure_means_nothing(imported, tmp_path, monkeypatch, capsys, caplog):
    text, output = write_text(tmp_path / "text.txt", SENTENCES), tmp_path / "metrics.json"
    with caplog.at_level(logging.WARNING):
        ended = run_command(monkeypatch, capsys, "evaluate", imported, text, "--output-file", output)
    assert ended.status == 0
    # Guessing among the words of the vocab.txt beside the weights.
    assert json.loads(output.read_text())["perplexity"] == pytest.approx(9)
    (record,) = [record for record in caplog.records if "this model has no softmax" in record.getMessage()]
    assert "those of guessing among its 9 words; fine-tune it first" in record.getMessage()


def test_a_model_with_a_softmax_is_not_warned_of(tmp_path, monkeypatch, capsys, caplog):
    options = BiLMOptions.from_dict({**json.loads((FIXTURES / "options.json").read_text()), "n_tokens_vocab": None})
    torch.manual_seed(1)
    model = build_language_model(options, len(WORDS))
    files = export_model(model, options, WORDS, tmp_path)
    archive = tmp_path / "imported.tar.gz"
    ended = run_import(capsys, files.options, files.weights, archive, "--vocab-file", files.vocabulary)
    assert ended.status == 0 and "no softmax" not in ended.err
    loaded = load_archive(archive).model
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.language_model.state_dict()[name], value), name
    assert loaded.vocab.get_token_index("<S>") == 2
    with caplog.at_level(logging.WARNING):
        scores = Predictor.from_archive(load_archive(archive)).predict_json({"sentence": "the river"})
    assert scores["perplexity"] != pytest.approx(len(WORDS))
    assert "no softmax" not in caplog.text


def test_words_are_read_as_wide_as_the_options_say(tmp_path, monkeypatch, capsys):
    mapping = json.loads((FIXTURES / "options.json").read_text())
    mapping["char_cnn"]["max_characters_per_token"] = 20
    (tmp_path / "options.json").write_text(json.dumps(mapping))
    archive = tmp_path / "model.tar.gz"
    run_import(capsys, tmp_path / "options.json", FIXTURES / "weights.hdf5", archive)
    loaded = load_archive(archive)
    assert loaded.dataset_reader.token_indexers["characters"].max_characters_per_token == 20
    # Its softmax is blank, so that the vectors are compared.
    indexer, embedder = loaded.dataset_reader.token_indexers["characters"], BilmTokenEmbedder(archive_file=str(archive))
    words = [Token("y" * 18 + tail) for tail in ("abc", "xyz")] + [Token("y" * 17 + "z")]
    ids = indexer.tokens_to_indices(words, loaded.model.vocab)
    vectors = embedder.eval()(torch.tensor(ids["elmo_tokens"]).unsqueeze(1))
    assert torch.equal(vectors[0], vectors[1]) and not torch.equal(vectors[0], vectors[2])


def test_what_cannot_be_imported_leaves_nothing(tmp_path, monkeypatch, capsys):
    options_file, weight_file, vocab_file = files_of(tmp_path, "words")
    before = sorted(os.listdir(tmp_path))
    archive = tmp_path / "imported.tar.gz"
    (tmp_path / "short.txt").write_text("<S>\n</S>\n<UNK>\n")
    characters = tmp_path / "characters"
    characters.mkdir()
    (characters / "alone").mkdir()
    alone = shutil.copy(weight_file, characters / "alone" / "other.hdf5")
    cases = [
        ((options_file, alone), "other.hdf5: needs its vocabulary, .* or `--vocab-file` .* word embedding"),
        (
            (options_file, weight_file, "--vocab-file", tmp_path / "short.txt"),
            "short.txt: the vocabulary must have 11 words, as the biLM, got 3",
        ),
        (
            (options_file, tmp_path / "no.hdf5", "--vocab-file", vocab_file),
            "no.hdf5: there is no such file or directory",
        ),
        ((tmp_path / "no.json", weight_file), "no.json: there is no such file or directory"),
        ((vocab_file, weight_file), "vocab.txt: must be JSON in UTF-8"),
        (
            (files_of(characters, "usual")[0], weight_file),
            "weights.hdf5: dataset `char_embed` is missing; expected shape",
        ),
    ]
    for (options, weights, *rest), message in cases:
        ended = run_import(capsys, options, weights, archive, *rest)
        assert ended.status == 1
        line = only_line(ended.err)
        assert line.startswith("error: ")
        assert re.search(message, line), line
    shutil.rmtree(characters)
    (tmp_path / "short.txt").unlink()
    assert sorted(os.listdir(tmp_path)) == before


def test_an_interrupt_leaves_the_archive_that_was_there(tmp_path, monkeypatch, capsys):
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(b"the old one")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(import_command.torch, "save", interrupt)
    ended = run_import(capsys, FIXTURES / "options.json", FIXTURES / "weights.hdf5", archive)
    assert ended.status == 130 and "interrupted: nothing was written" in ended.err
    assert archive.read_bytes() == b"the old one" and os.listdir(tmp_path) == ["model.tar.gz"]


def test_usage(monkeypatch, capsys):
    ended = run_import(capsys, "--help")
    assert ended.status == 0 and "allennlp elmo-import options.json weights.hdf5 imported.tar.gz" in ended.out
    ended = run_import(capsys, "options.json")
    assert ended.status == 2 and "the following arguments are required: archive_file" in ended.err


def test_the_archive_holds_what_allennlp_expects_and_no_more(imported):
    with tarfile.open(imported) as archive:
        assert sorted(archive.getnames()) == [
            "config.json",
            "vocabulary",
            "vocabulary/non_padded_namespaces.txt",
            "vocabulary/tokens.txt",
            "weights.th",
        ]
    loaded = load_archive(imported)
    assert loaded.dataset_reader.text_to_instance(["a"])["source"].tokens[1] == Token("a")
