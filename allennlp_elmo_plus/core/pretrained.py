"""A pretrained biLM from its files: options and weights.hdf5, or the model.tar.gz of pretraining."""

import dataclasses
from pathlib import Path
from typing import NamedTuple, Optional, Union

from .archive import is_archive, load_archived_weights, read_archive
from .builder import build_encoder, build_language_model
from .errors import InputError
from .hdf5 import check_weights, read_vocab_size, read_weights
from .language_model import LanguageModel
from .model_files import ModelFiles
from .options import BiLMOptions
from .representation import BiLMEncoder


class PretrainedModel(NamedTuple):
    """A biLM with its softmax; `vocabulary` in bilm-tf's order."""

    model: LanguageModel
    options: BiLMOptions
    vocabulary: list[str]


def load_language_model(archive_file: Union[str, Path]) -> PretrainedModel:
    """
    The biLM with its softmax in the model.tar.gz `archive_file`, whoever made it: see `core.archive.read_archive`.

    Raises InputError where the file is no such archive, is damaged, holds another kind of model, or weights that are not finite.
    """
    archived = read_archive(archive_file)
    model = build_language_model(archived.options, len(archived.vocabulary))
    load_archived_weights(model, archived.weights, str(archive_file))
    return PretrainedModel(model, archived.options, archived.vocabulary)


def load_encoder(options: Optional[BiLMOptions], weights: Optional[Union[str, Path]]) -> BiLMEncoder:
    """
    The encoder that `options` describe with the weights in the file `weights`, a weights.hdf5 or a model.tar.gz.

    Without `options` those of the model.tar.gz are taken. Without `weights` they are initialised as for training. For
    word input the vocabulary's size is that of the weights where `options` leave it out.

    Raises InputError where a file cannot be read or is not of these options, and where `options` are needed and
    missing.
    """
    if weights is not None and is_archive(weights):
        archived = read_archive(weights)
        if options is not None:
            _check_same_model(options, archived.options, str(weights))
        encoder = build_encoder(archived.options)
        load_archived_weights(encoder, archived.weights, str(weights))
        return encoder
    if options is None:
        raise InputError(f"{weights}: must be a model.tar.gz, which brings its own options")
    if weights is None:
        return build_encoder(options)
    if options.char_cnn is None and options.n_tokens_vocab is None:
        options = dataclasses.replace(options, n_tokens_vocab=read_vocab_size(weights))
    check_weights(weights, options)
    encoder = build_encoder(options)
    read_weights(weights, encoder, options)
    return encoder


def load_files(files: ModelFiles) -> BiLMEncoder:
    """`load_encoder` of the files that `find_model` found."""
    return load_encoder(None if files.options is None else BiLMOptions.from_file(files.options), files.weights)


def _check_same_model(options: BiLMOptions, archived: BiLMOptions, source: str) -> None:
    for name in ("char_cnn", "lstm", "bidirectional"):
        ours, theirs = getattr(options, name), getattr(archived, name)
        if ours != theirs:
            raise InputError(f"{source}: its `{name}` must be that of `options`, {ours}, got {theirs}")
