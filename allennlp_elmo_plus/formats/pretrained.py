"""Read a pretrained biLM from its files: options and weights.hdf5, or the model.tar.gz of pretraining.

`model_files.py` finds the files; `archive.py` and `bilm_tf_hdf5.py` read the two formats.
"""

import dataclasses
import logging
from pathlib import Path
from typing import NamedTuple, Optional, Union

from allennlp_elmo_plus.data.text.characters import BOS_WORD, EOS_WORD
from allennlp_elmo_plus.data.text.vocabulary import read_vocabulary
from allennlp_elmo_plus.errors import InputError, truncated_repr
from allennlp_elmo_plus.formats.archive import WEIGHTS_PREFIX, is_archive, read_archive, read_archive_vocabulary
from allennlp_elmo_plus.formats.bilm_tf_hdf5 import read_parameters, read_vocab_size
from allennlp_elmo_plus.formats.model_files import VOCABULARY_NAME, ModelFiles
from allennlp_elmo_plus.formats.parameters import fill_parameters
from allennlp_elmo_plus.modules.build import build_encoder, build_language_model
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.modules.language_model import LanguageModel
from allennlp_elmo_plus.options.bilm_options import BiLMOptions

logger = logging.getLogger(__name__)


class PretrainedModel(NamedTuple):
    """A biLM with its softmax."""

    model: LanguageModel
    options: BiLMOptions
    vocabulary: list[str]  # in bilm-tf's order


def load_language_model(archive_file: Union[str, Path]) -> PretrainedModel:
    """Return the biLM with its softmax in the model.tar.gz `archive_file`, which may come from an untrusted source.

    Raises:
        InputError: `read_archive` refuses the file, or it holds weights that are not finite.
    """
    archived = read_archive(archive_file)
    model = build_language_model(archived.options, len(archived.vocabulary))
    fill_parameters(model, archived.weights, str(archive_file), WEIGHTS_PREFIX)
    return PretrainedModel(model, archived.options, archived.vocabulary)


def load_encoder(options: Optional[BiLMOptions], weights: Optional[Union[str, Path]]) -> BiLMEncoder:
    """Return an encoder with the weights in the file `weights`.

    For word input, the ids of `<S>` and `</S>` are those of the model's vocabulary: in the archive, or in a `vocab.txt` beside
    the weights.hdf5.

    Args:
        options: what the biLM is; None takes the options of the archive. For word input, `n_tokens_vocab` may be left out.
        weights: a weights.hdf5 or a model.tar.gz; None initializes the weights as for training.

    Raises:
        InputError: a file cannot be read, is of another model than `options`, or `options` are needed and missing.
    """
    if weights is not None and is_archive(weights):
        archived = read_archive(weights)
        if options is not None:
            check_same_model(options, archived.options, str(weights))
        encoder = build_encoder(archived.options, _boundary_ids(archived.options, archived.vocabulary, weights))
        fill_parameters(encoder, archived.weights, str(weights), WEIGHTS_PREFIX)
        return encoder
    if options is None:
        raise InputError(f"{weights}: must be a model.tar.gz, which brings its own options")
    if weights is None:
        return build_encoder(options)
    if options.char_cnn is None and options.n_tokens_vocab is None:
        options = dataclasses.replace(options, n_tokens_vocab=read_vocab_size(weights))
    # Before the encoder is built: a file that claims to be larger than it is must not take memory.
    parameters = read_parameters(weights, options, None)
    encoder = build_encoder(options, _boundary_ids(options, words_beside(weights), weights))
    fill_parameters(encoder, parameters, str(weights))
    return encoder


def load_files(files: ModelFiles) -> BiLMEncoder:
    """Return the encoder in `files`, as `find_model` found them; raises what `load_encoder` raises."""
    return load_encoder(None if files.options is None else BiLMOptions.from_file(files.options), files.weights)


def read_words(path: Union[str, Path]) -> list[str]:
    """Return the vocabulary in the file `path`, a vocab.txt of bilm-tf or a model.tar.gz, in the order of bilm-tf's ids."""
    return read_archive_vocabulary(path) if is_archive(path) else read_vocabulary(path)


def words_beside(weights: Union[str, Path]) -> Optional[list[str]]:
    """Return the words of the `vocab.txt` in the directory of the weights.hdf5 `weights`; None where it is missing."""
    path = Path(weights).with_name(VOCABULARY_NAME)
    return read_vocabulary(path) if path.exists() else None


def check_same_model(options: BiLMOptions, other: BiLMOptions, source: str) -> None:
    """Check that `other`, the options of the file `source`, describe the same model as `options`.

    Raises:
        InputError: some option differs; the message names all that do.
    """
    if (options.char_cnn is None) != (other.char_cnn is None):
        expected, got = ("missing", "is there") if options.char_cnn is None else ("there", "is missing")
        raise InputError(f"{source}: its `char_cnn` must be {expected}, as in `options`, and {got}")
    ours, theirs = options.architecture(), other.architecture()
    differing = [
        f"`{key}` {truncated_repr(ours[key])}, got {truncated_repr(theirs[key])}"
        for key in ours
        if ours[key] != theirs[key]
    ]
    if differing:
        raise InputError(f"{source}: its options must be those of `options`: {'; '.join(differing)}")


def _boundary_ids(options: BiLMOptions, words: Optional[list[str]], weights: Union[str, Path]) -> tuple[int, int]:
    """Return the ids of `<S>` and `</S>`, which only word input needs.

    Raises:
        InputError: the vocabulary does not have a word for each row of the embedding.
    """
    if options.char_cnn is not None:
        return 0, 1
    if not words:
        logger.warning(
            "%s: there is no %s beside it; assuming that <S> and </S> are words 0 and 1", weights, VOCABULARY_NAME
        )
        return 0, 1
    if len(words) != options.n_tokens_vocab:
        raise InputError(
            f"{weights}: its vocabulary must have {options.n_tokens_vocab} words, as the embedding has, got {len(words)}"
        )
    return words.index(BOS_WORD), words.index(EOS_WORD)
