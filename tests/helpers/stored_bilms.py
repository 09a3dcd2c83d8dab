"""One small biLM in every form that `formats.pretrained.KINDS` lists."""

import gzip
import json
import shutil
import zipfile
from pathlib import Path

import h5py

from allennlp_elmo_plus.formats.bilm_tf_hdf5 import write_weights
from allennlp_elmo_plus.formats.export import export_model
from allennlp_elmo_plus.formats.model_files import ModelSource
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.modules.language_model import LanguageModel
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from tests.helpers.bilm_tf_directories import write_training_directory
from tests.helpers.small_archives import archived_files, saved, write_archive
from tests.helpers.small_models import VOCABULARY

FORMS = ["archive", "run", "export", "renamed", "zip", "zip of a folder", "training", "pair", "softmax apart"]


def write_form(directory: Path, form: str, model: LanguageModel, options: BiLMOptions) -> ModelSource:
    """Write `model` with the vocabulary VOCABULARY below `directory`, and return where it is."""
    path = directory / "model"
    path.mkdir()
    if form in ("archive", "run"):
        config = {"model": {"type": "bilm", **options.to_dict(inference=False)}}
        files = {
            **archived_files(),
            "config.json": json.dumps(config).encode(),
            "weights.th": saved(model.state_dict()),
        }
        files["vocabulary/tokens.txt"] = "".join(f"{word}\n" for word in VOCABULARY).encode()
        archive = write_archive(path / "model.tar.gz", files)
        return ModelSource(path if form == "run" else archive)
    if form == "training":
        write_training_directory(path, model, options, VOCABULARY)
        return ModelSource(path)
    files = export_model(model, options, VOCABULARY, path)
    if form == "pair":
        apart = directory / "options.json"
        files.options.rename(apart)
        return ModelSource(apart, files.weights)
    if form == "softmax apart":
        return _with_softmax_apart(path, model, options)
    if form != "export":
        files.options.rename(path / "elmo_small_options.json")
        files.weights.rename(path / "model.hdf5")
        (path / "vocab.txt.gz").write_bytes(gzip.compress(files.vocabulary.read_bytes()))
        files.vocabulary.unlink()
    return ModelSource(_zipped(path, form) if form.startswith("zip") else path)


def _with_softmax_apart(path: Path, model: LanguageModel, options: BiLMOptions) -> ModelSource:
    softmax = path / "small_softmax_weights.hdf5"
    with h5py.File(path / "weights.hdf5") as source, h5py.File(softmax, "w") as target:
        source.copy("softmax", target)
    width = None if options.char_cnn is None else options.char_cnn.max_characters
    write_weights(path / "weights.hdf5", BiLMEncoder(model.token_encoder, model.bilm, width), options)
    return ModelSource(path, vocab_file=path / "vocab.txt", softmax_file=softmax)


def _zipped(path: Path, form: str) -> Path:
    folder = "a/" if form == "zip of a folder" else ""
    zip_file = path.with_suffix(".zip")
    with zipfile.ZipFile(zip_file, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in path.iterdir():
            archive.write(file, f"{folder}{file.name}")
    shutil.rmtree(path)
    return zip_file
