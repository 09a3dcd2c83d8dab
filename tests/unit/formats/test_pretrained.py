"""Every form of a biLM gives the same biLM, and any other file is refused in one line."""

import gzip
import json
import logging
import shutil
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.archive import read_words
from allennlp_elmo_plus.formats.export import export_model
from allennlp_elmo_plus.formats.model_files import ModelSource
from allennlp_elmo_plus.formats.pretrained import load_encoder, load_language_model, read_model
from allennlp_elmo_plus.modules.language_model import LanguageModel
from tests.helpers.small_archives import archived_files, write_archive
from tests.helpers.small_models import VOCABULARY, batch_of, small_model, small_options
from tests.helpers.stored_bilms import FORMS, write_form

KINDS_OF_INPUT = {"characters": {}, "words": {"char_cnn": None}}
SENTENCES = [["the", "river", "rises"], [], ["mill", "turns", "."]]


def trained(**overrides) -> LanguageModel:
    model = small_model(**overrides).float()
    with torch.no_grad():
        model.softmax.bias.normal_()
    return model.eval()


def refusal(path: Path, *more, **arguments) -> str:
    with pytest.raises(InputError) as error:
        read_model(ModelSource(path, *more, **arguments))
    message = str(error.value)
    assert len(message.splitlines()) == 1 and len(message) < 1000
    return message.replace(str(path), "IT")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("overrides", KINDS_OF_INPUT.values(), ids=KINDS_OF_INPUT)
def test_every_form_is_the_same_model(tmp_path, form, overrides):
    model = trained(**overrides)
    source = write_form(tmp_path, form, model, small_options(**overrides))
    read = load_language_model(source)
    assert read.vocabulary == VOCABULARY and read.options.n_tokens_vocab == len(VOCABULARY)
    batch = batch_of(SENTENCES)
    expected, actual = model.exact_loss(batch), read.model.eval().exact_loss(batch)
    torch.testing.assert_close(actual.forward_nll, expected.forward_nll, rtol=0, atol=0)
    torch.testing.assert_close(actual.backward_nll, expected.backward_nll, rtol=0, atol=0)
    encoder = load_encoder(None, source)
    parameters = dict(model.named_parameters())
    assert all(torch.equal(value, parameters[name]) for name, value in encoder.named_parameters())
    # Adagrad's sums are only in a directory of training, and read only for training.
    assert not read_model(source).adagrad_sums
    assert bool(read_model(source, with_adagrad_sums=True).adagrad_sums) == (form == "training")


@pytest.mark.parametrize("form", FORMS)
def test_a_form_of_another_model_than_the_options_is_refused(tmp_path, form):
    source = write_form(tmp_path, form, trained(), small_options())
    read_model(source, small_options())
    other = small_options(lstm={"dim": 9, "projection_dim": 5, "n_layers": 2})
    with pytest.raises(InputError, match=r"its options must be those of `options`: `lstm.cell_clip` None, got 0.6"):
        read_model(source, other)


def test_an_error_names_a_download_by_its_url(tmp_path, monkeypatch):
    export_model(trained(), small_options(), VOCABULARY, tmp_path)
    (tmp_path / "options.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "cached_path", SimpleNamespace(cached_path=lambda url: tmp_path))
    with pytest.raises(InputError, match=r"^hf://someone/a-bilm/options.json: `lstm` is missing$"):
        read_model(ModelSource("hf://someone/a-bilm"))


def test_a_zip_is_named_in_errors_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    path = write_form(tmp_path, "zip", trained(), small_options()).path
    read_model(ModelSource(path))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other_options.json", "{}")
    assert "IT: must be an options.json with its weights, a model.tar.gz" in refusal(path)
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\\x"])
def test_a_zip_writes_nowhere_else(tmp_path, name):
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "x")
    assert "must have a relative path without `..`" in refusal(path)


def test_a_zip_of_macos_is_read_without_its_extra_files(tmp_path):
    path = write_form(tmp_path, "zip", trained(), small_options()).path
    with zipfile.ZipFile(path, "a") as archive:
        for name in ("__MACOSX/._options.json", "._options.json"):
            archive.writestr(name, b"")
    read_model(ModelSource(path))


def test_a_zip_that_grows_or_is_damaged_is_refused(tmp_path):
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights.hdf5", bytes(2**20))
    assert refusal(path).endswith(" bytes together, got more")
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(10_001):
            archive.writestr(str(number), "")
    assert refusal(path) == "IT: must hold at most 10,000 members, got 10,001"
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning):
        archive.writestr("a", "1")
        archive.writestr("a", "2")
    assert refusal(path).startswith("IT: must be a whole zip: ")
    path.write_bytes(path.read_bytes()[:20])
    assert refusal(path).startswith("IT: must be a whole zip: ")


def test_of_several_hdf5_files_the_one_called_weights_is_read(tmp_path):
    files = export_model(trained(), small_options(), VOCABULARY, tmp_path)
    shutil.copy(files.weights, tmp_path / "words.hdf5")
    read_model(ModelSource(tmp_path))
    files.weights.rename(tmp_path / "model.hdf5")
    assert refusal(tmp_path).endswith("got a directory with 1 *options.json and 2 *.hdf5")


def test_a_softmax_is_not_taken_for_the_weights(tmp_path):
    source = write_form(tmp_path, "softmax apart", trained(), small_options())
    assert load_language_model(source.path).model.has_untrained_softmax
    other = source.path / "other.hdf5"
    source.softmax_file.rename(other)
    (source.path / "weights.hdf5").rename(source.path / "model.hdf5")
    assert not load_language_model(source._replace(softmax_file=other)).model.has_untrained_softmax


def test_a_softmax_needs_its_vocabulary_and_weights_without_one(tmp_path):
    source = write_form(tmp_path, "softmax apart", trained(), small_options())
    (source.path / "vocab.txt").rename(tmp_path / "vocab.txt")
    assert "needs its vocabulary" in refusal(source.path, softmax_file=source.softmax_file)
    read_model(source._replace(vocab_file=tmp_path / "vocab.txt"))
    (tmp_path / "short.txt").write_text("<S>\n</S>\n<UNK>\n")
    message = refusal(source.path, vocab_file=tmp_path / "short.txt", softmax_file=source.softmax_file)
    assert message.startswith("IT/small_softmax_weights.hdf5: dataset `softmax/W` must have shape (3, 5)")
    archive = write_archive(tmp_path / "model.tar.gz", archived_files())
    assert refusal(archive, softmax_file=source.softmax_file).endswith("got IT, which has its own")
    with h5py.File(source.softmax_file, "w") as file:
        file["softmax/b"] = np.zeros(12, "f4")
    message = refusal(source.path, vocab_file=tmp_path / "vocab.txt", softmax_file=source.softmax_file)
    assert "dataset `softmax/W` is missing; expected shape (12, 5)" in message


def test_a_vocabulary_that_nobody_needs_may_be_damaged(tmp_path, caplog):
    source = write_form(tmp_path, "softmax apart", trained(), small_options())
    (source.path / "vocab.txt").write_text("<S>\nthe\nthe\n")
    alone = ModelSource(source.path / "options.json", source.path / "weights.hdf5")
    with caplog.at_level(logging.WARNING):
        assert read_model(alone).vocabulary is None
    assert "vocab.txt, line 3: 'the' is on line 2 already; this model does not need it" in caplog.text
    for needing in (alone._replace(vocab_file=source.path / "vocab.txt"), source):
        with pytest.raises(InputError, match="line 3: 'the' is on line 2 already"):
            read_model(needing)


def test_a_vocabulary_may_be_compressed(tmp_path):
    words = "".join(f"{word}\n" for word in VOCABULARY).encode()
    path = tmp_path / "vocab.txt.gz"
    path.write_bytes(gzip.compress(words))
    assert read_words(path) == VOCABULARY
    archive = write_archive(tmp_path / "model.tar.gz", {**archived_files(), "vocabulary/tokens.txt": words})
    assert read_words(archive) == VOCABULARY
    path.write_bytes(gzip.compress(words)[:-9])
    with pytest.raises(InputError, match="vocab.txt.gz: must be a whole model.tar.gz"):
        read_words(path)


def test_word_input_needs_as_many_words_as_rows(tmp_path):
    overrides = {"char_cnn": None}
    for form in ("archive", "export"):
        directory = tmp_path / form
        directory.mkdir()
        source = write_form(directory, form, trained(**overrides), small_options(**overrides))
        (tmp_path / "short.txt").write_text("<S>\n</S>\n<UNK>\n")
        message = refusal(source.path, vocab_file=tmp_path / "short.txt")
        assert message.endswith("short.txt: the vocabulary must have 12 words, as the biLM, got 3")


@pytest.mark.parametrize("form", ["archive", "export", "training"])
def test_options_of_word_input_name_the_rows_of_the_embedding(tmp_path, form):
    source = write_form(tmp_path, form, trained(char_cnn=None), small_options(char_cnn=None))
    load_encoder(small_options(char_cnn=None), source)
    load_encoder(small_options(char_cnn=None, n_tokens_vocab=12), source)
    with pytest.raises(
        InputError, match="its word embedding must have 11 rows, the `n_tokens_vocab` of `options`, got 12"
    ):
        load_encoder(small_options(char_cnn=None, n_tokens_vocab=11), source)
    # A model of another vocabulary may start from it.
    read_model(source, small_options(char_cnn=None, n_tokens_vocab=11))


def test_a_model_without_a_softmax_gets_one_of_zeros(tmp_path):
    source = write_form(tmp_path, "softmax apart", trained(), small_options())
    read = load_language_model(ModelSource(source.path / "options.json", source.path / "weights.hdf5"))
    assert read.model.has_untrained_softmax and read.vocabulary == VOCABULARY
    (source.path / "vocab.txt").unlink()
    read = load_language_model(ModelSource(source.path / "options.json", source.path / "weights.hdf5"))
    assert read.model.has_untrained_softmax and read.vocabulary == ["<S>", "</S>", "<UNK>"]


TRANSFORMER = {"type": "bidirectional_language_model_transformer", "hidden_dim": 2048}


@pytest.mark.parametrize(
    "section, message",
    [
        (
            {"type": "bidirectional-language-model", "contextualizer": TRANSFORMER},
            "got the transformer ELMo of AllenNLP, 'bidirectional-language-model'",
        ),
        ({"type": "bidirectional_lm"}, "got a language model of AllenNLP, 'bidirectional_lm'"),
        ({"type": "language_model"}, "got a language model of AllenNLP, 'language_model'"),
        ({"type": "simple_tagger"}, "got 'simple_tagger'"),
        ({"type": ["x"]}, "got ['x']"),
        ({}, "as pretraining writes it"),
        (3, "as pretraining writes it"),
    ],
)
def test_other_models_of_allennlp_are_refused_by_name(tmp_path, section, message):
    files = {**archived_files(), "config.json": json.dumps({"model": section}).encode()}
    path = write_archive(tmp_path / "model.tar.gz", files)
    line = refusal(path)
    assert line.startswith("IT: its `config.json` must have a `model` of type `bilm`") and line.endswith(message)


def test_modules_of_tensorflow_hub_are_refused_by_name(tmp_path):
    reason = "got a module of TensorFlow Hub, whose weights are inside a TensorFlow program"
    (tmp_path / "saved_model.pb").write_bytes(b"")
    assert refusal(tmp_path).endswith(reason)
    assert refusal(write_archive(tmp_path / "3.tar.gz", {"./tfhub_module.pb": b"", "./saved_model.pb": b""})).endswith(
        reason
    )


def test_files_of_no_kind_are_refused(tmp_path):
    path = tmp_path / "model.bin"
    for content in (b"", b"PK", b"\x89HDF", b"text"):
        path.write_bytes(content)
        line = refusal(path)
        assert line.startswith("IT: must be an options.json with its weights, a model.tar.gz, a zip, an HDF5 file, ")
        assert line.endswith(" or a directory with a model.tar.gz, got another file")
    with h5py.File(path, "w"):
        pass
    assert refusal(path) == "IT: weights must come with their options.json, got the weights alone"
    assert refusal(tmp_path, path) == "IT: must be the options.json that goes with the weights, and is a directory"
    (tmp_path / "model.index").write_bytes(b"")
    assert refusal(tmp_path).endswith("got a directory with 0 *options.json and 0 *.hdf5")
    (tmp_path / "model.data-00000-of-00001").write_bytes(b"")
    assert refusal(tmp_path) == "IT: must hold one *options.json beside the checkpoint, got 0"
