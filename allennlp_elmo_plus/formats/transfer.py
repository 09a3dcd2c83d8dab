"""Start a biLM from the weights of another one: rows that belong to words are copied by word, all other weights as they are."""

from pathlib import Path
from typing import NamedTuple, Optional, Union

import torch
from torch import Tensor

from allennlp_elmo_plus.errors import InputError, count_in_words
from allennlp_elmo_plus.formats.archive import is_archive, read_archive
from allennlp_elmo_plus.formats.bilm_tf_hdf5 import has_softmax, read_parameters
from allennlp_elmo_plus.formats.model_files import VOCABULARY_NAME
from allennlp_elmo_plus.formats.parameters import RowMapping, fill_parameters
from allennlp_elmo_plus.formats.pretrained import check_same_model, words_beside
from allennlp_elmo_plus.modules.language_model import LanguageModel
from allennlp_elmo_plus.options.bilm_options import BiLMOptions

# Weights with one row per word of the vocabulary.
_SOFTMAX = ("softmax.weight", "softmax.bias")
_BY_WORD = ("token_encoder.embedding", *_SOFTMAX)


class PretrainedWeights(NamedTuple):
    """The weights of a biLM."""

    weights: dict[str, Tensor]  # by their names in a LanguageModel; the softmax only where it was trained
    words: Optional[list[str]]  # the word of each row of softmax and word embedding; None without such rows


class CarriedOver(NamedTuple):
    """How much a new biLM has from an old one."""

    num_words: int  # words of the new vocabulary
    num_carried: int  # words whose rows were copied; the rows of the other words are fresh
    has_softmax: bool  # whether the old biLM had a softmax

    def describe(self) -> str:
        """Return a phrase for the log."""
        num_fresh = self.num_words - self.num_carried
        rows = (
            f"{self.num_carried:,} of {count_in_words(self.num_words, 'row')} carried over by word, {num_fresh:,} fresh"
        )
        return rows if self.has_softmax else f"a fresh softmax, as the old model has none; {rows}"


def read_pretrained(path: Union[str, Path], options: BiLMOptions) -> PretrainedWeights:
    """Return the weights in the file at `path`: a model.tar.gz, or a weights.hdf5 with its `vocab.txt` in the same directory.

    Only a weights.hdf5 of character input without a softmax can be read without `vocab.txt`.

    Raises:
        InputError: the file cannot be read, is of another model than `options` describe, or lacks its vocabulary.
    """
    if is_archive(path):
        archived = read_archive(path)
        check_same_model(options, archived.options, str(path))
        _check_sharing(options, archived.options, str(path))
        weights = archived.weights
        if not any(weights[name].any() for name in _SOFTMAX if name in weights):
            weights = {name: value for name, value in weights.items() if name not in _SOFTMAX}
        return PretrainedWeights(weights, archived.vocabulary)
    words = words_beside(path)
    if words is None and (options.char_cnn is None or has_softmax(path)):
        raise InputError(
            f"{path}: needs a `{VOCABULARY_NAME}` beside it, the vocabulary whose words its rows stand for"
        )
    return PretrainedWeights(read_parameters(path, options, None if words is None else len(words)), words)


def carry_over(model: LanguageModel, pretrained: PretrainedWeights, words: list[str], source: str) -> CarriedOver:
    """Copy the weights of a biLM with the same options into `model`.

    In the softmax and in a word embedding, the rows of words that both vocabularies have are copied. The other rows of `model`
    stay as they are, and so does its softmax where `pretrained` has none.

    Args:
        model: the biLM to change.
        pretrained: the weights, with the words of their rows.
        words: the vocabulary of `model`.
        source: the file of `pretrained`, for error messages.

    Returns:
        How much was copied.

    Raises:
        InputError: see `fill_parameters`; `model` is then unchanged.
    """
    old_rows = {word: row for row, word in enumerate(pretrained.words or [])}
    pairs = [(new, old_rows[word]) for new, word in enumerate(words) if word in old_rows]
    new_ids, old_ids = (torch.tensor([pair[side] for pair in pairs], dtype=torch.int64) for side in (0, 1))
    rows = dict.fromkeys(_BY_WORD, RowMapping(new_ids, old_ids, len(old_rows)))
    missing = [name for name in _SOFTMAX if name not in pretrained.weights]
    fill_parameters(model, pretrained.weights, source, rows=rows, skip=missing)
    copied = [name for name, _ in model.named_parameters() if name in _BY_WORD and name not in missing]
    return CarriedOver(len(words), len(pairs) if copied else 0, "softmax.bias" in copied)


def _check_sharing(options: BiLMOptions, other: BiLMOptions, source: str) -> None:
    if options.share_embedding_softmax != other.share_embedding_softmax:
        raise InputError(
            f"{source}: its `share_embedding_softmax` must be that of `options`, {options.share_embedding_softmax}, "
            f"got {other.share_embedding_softmax}"
        )
