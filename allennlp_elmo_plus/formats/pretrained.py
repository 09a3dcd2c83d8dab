"""A pretrained biLM from its files: options and weights.hdf5, or the model.tar.gz of pretraining."""

import dataclasses
import logging
from pathlib import Path
from typing import NamedTuple, Optional, Union

from allennlp_elmo_plus.data.text.characters import BOS_WORD, EOS_WORD
from allennlp_elmo_plus.data.text.vocabulary import read_vocabulary
from allennlp_elmo_plus.errors import InputError, truncated_repr
from allennlp_elmo_plus.formats.archive import is_archive, load_archived_weights, read_archive
from allennlp_elmo_plus.formats.bilm_tf_hdf5 import check_weights, read_vocab_size, read_weights
from allennlp_elmo_plus.formats.model_files import ModelFiles
from allennlp_elmo_plus.modules.build import build_encoder, build_language_model
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.modules.language_model import LanguageModel
from allennlp_elmo_plus.options.bilm_options import BiLMOptions

logger = logging.getLogger(__name__)

VOCABULARY_FILE = "vocab.txt"


class PretrainedModel(NamedTuple):
    """A biLM with its softmax; `vocabulary` in bilm-tf's order."""

    model: LanguageModel
    options: BiLMOptions
    vocabulary: list[str]


def load_language_model(archive_file: Union[str, Path]) -> PretrainedModel:
    """The biLM with its softmax in the model.tar.gz `archive_file`, whoever made it: see `formats.archive.read_archive`.

    Raises InputError where the file is no such archive, is damaged, holds another kind of model, or weights that are not finite.
    """
    archived = read_archive(archive_file)
    model = build_language_model(archived.options, len(archived.vocabulary))
    load_archived_weights(model, archived.weights, str(archive_file))
    return PretrainedModel(model, archived.options, archived.vocabulary)


def load_encoder(options: Optional[BiLMOptions], weights: Optional[Union[str, Path]]) -> BiLMEncoder:
    """The encoder that `options` describe with the weights in the file `weights`, a weights.hdf5 or a model.tar.gz.

    Without `options` those of the model.tar.gz are taken. Without `weights` they are initialised as for training. For
    word input the vocabulary's size is that of the weights where `options` leave it out, and `<S>` and `</S>` are where
    the vocabulary of the model has them: in the archive, or a `vocab.txt` beside the weights.hdf5.

    Raises InputError where a file cannot be read or is not of these options, and where `options` are needed and
    missing.
    """
    if weights is not None and is_archive(weights):
        archived = read_archive(weights)
        if options is not None:
            check_same_model(options, archived.options, str(weights))
        encoder = build_encoder(archived.options, _boundary_ids(archived.options, archived.vocabulary, weights))
        load_archived_weights(encoder, archived.weights, str(weights))
        return encoder
    if options is None:
        raise InputError(f"{weights}: must be a model.tar.gz, which brings its own options")
    if weights is None:
        return build_encoder(options)
    if options.char_cnn is None and options.n_tokens_vocab is None:
        options = dataclasses.replace(options, n_tokens_vocab=read_vocab_size(weights))
    check_weights(weights, options)
    encoder = build_encoder(options, _boundary_ids(options, words_beside(weights), weights))
    read_weights(weights, encoder, options)
    return encoder


def load_files(files: ModelFiles) -> BiLMEncoder:
    """`load_encoder` of the files that `find_model` found."""
    return load_encoder(None if files.options is None else BiLMOptions.from_file(files.options), files.weights)


def read_words(path: Union[str, Path]) -> list[str]:
    """The words in a vocabulary file of bilm-tf, or those of the model in a model.tar.gz, in the order of bilm-tf's ids.
    Raises what reading either raises.
    """
    return read_archive(path).vocabulary if is_archive(path) else read_vocabulary(path)


def words_beside(weights: Union[str, Path]) -> Optional[list[str]]:
    """The words of the `vocab.txt` beside the weights.hdf5 at `weights`, as an export leaves it; None where there is none."""
    path = Path(weights).with_name(VOCABULARY_FILE)
    return read_vocabulary(path) if path.exists() else None


def check_same_model(options: BiLMOptions, other: BiLMOptions, source: str) -> None:
    """Raises InputError, naming each option that differs, where `other`, those of the file `source`, are of another model than
    `options`.
    """
    if (options.char_cnn is None) != (other.char_cnn is None):
        expected, got = ("missing", "is there") if options.char_cnn is None else ("there", "is missing")
        raise InputError(f"{source}: its `char_cnn` must be {expected}, as in `options`, and {got}")
    ours, theirs = options.of_the_model(), other.of_the_model()
    differing = [
        f"`{key}` {truncated_repr(ours[key])}, got {truncated_repr(theirs[key])}"
        for key in ours
        if ours[key] != theirs[key]
    ]
    if differing:
        raise InputError(f"{source}: its options must be those of `options`: {'; '.join(differing)}")


def _boundary_ids(options: BiLMOptions, words: Optional[list[str]], weights: Union[str, Path]) -> tuple[int, int]:
    if options.char_cnn is not None:
        return 0, 1
    if not words:
        logger.warning("%s: no %s with it: <S> and </S> are taken to be words 0 and 1", weights, VOCABULARY_FILE)
        return 0, 1
    if len(words) != options.n_tokens_vocab:
        raise InputError(
            f"{weights}: its vocabulary must have {options.n_tokens_vocab} words, as the embedding has, got {len(words)}"
        )
    return words.index(BOS_WORD), words.index(EOS_WORD)
