"""Starting a biLM from the weights of another: all that does not depend on words as it was, the rest row by row, by word."""

from pathlib import Path
from typing import NamedTuple, Optional, Union

import torch
from torch import Tensor

from allennlp_elmo_plus.errors import InputError, count_in_words
from allennlp_elmo_plus.formats.archive import is_archive, read_archive
from allennlp_elmo_plus.formats.bilm_tf_hdf5 import has_softmax, read_parameters
from allennlp_elmo_plus.formats.pretrained import VOCABULARY_FILE, check_same_model, words_beside
from allennlp_elmo_plus.modules.language_model import LanguageModel
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.storage.finite import check_finite

# One row a word of the vocabulary.
_SOFTMAX = ("softmax.weight", "softmax.bias")
_BY_WORD = ("token_encoder.embedding", *_SOFTMAX)


class PretrainedWeights(NamedTuple):
    """The weights of a biLM, named as below a LanguageModel, those of its softmax only where it was trained."""

    weights: dict[str, Tensor]
    words: Optional[
        list[str]
    ]  # of the rows of the softmax and of the word embedding; None where there are no such rows


class CarriedOver(NamedTuple):
    """How much of an old biLM a new one starts from. Rows are those of the softmax, and of the word embedding."""

    num_words: int  # of the new vocabulary
    num_carried: int  # of these, those whose rows are the old ones; the others' are fresh
    has_softmax: bool  # whether the old one had a softmax; without, all of the new one's rows are fresh

    def describe(self) -> str:
        """What happened, in a part of a sentence, for people."""
        num_fresh = self.num_words - self.num_carried
        rows = (
            f"{self.num_carried:,} of {count_in_words(self.num_words, 'row')} carried over by word, {num_fresh:,} fresh"
        )
        return rows if self.has_softmax else f"a fresh softmax, as there was none; {rows}"


def read_pretrained(path: Union[str, Path], options: BiLMOptions) -> PretrainedWeights:
    """The weights in the file at `path`, a model.tar.gz, or a weights.hdf5 with the `vocab.txt` of its model beside it. Without
    `vocab.txt`, a softmax cannot be carried over, and word input cannot be read.

    Raises InputError where the file cannot be read, is of another model than `options` describe, or lacks its vocabulary.
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
            f"{path}: needs a `{VOCABULARY_FILE}` beside it, the vocabulary whose words its rows stand for"
        )
    return PretrainedWeights(read_parameters(path, options, None if words is None else len(words)), words)


def carry_over(model: LanguageModel, pretrained: PretrainedWeights, words: list[str], source: str) -> CarriedOver:
    """Fills `model`, whose vocabulary is `words`, from the weights of another of the same options. Of the softmax and of a word
    embedding, the rows of words that both vocabularies have are carried over; the others stay what they are in `model`, and
    so does the whole softmax where the old one has none.

    Raises InputError, naming the parameter and `source`, where one is missing, has another shape, or holds values that are
    not finite.
    """
    parameters = dict(model.named_parameters())
    old_rows = {word: row for row, word in enumerate(pretrained.words or [])}
    pairs = [(new, old_rows[word]) for new, word in enumerate(words) if word in old_rows]
    new_ids, old_ids = (torch.tensor([pair[side] for pair in pairs], dtype=torch.int64) for side in (0, 1))
    by_word = []
    for name, parameter in parameters.items():
        old = pretrained.weights.get(name)
        if old is None and name in _SOFTMAX:
            continue
        expected = tuple(parameter.shape)
        if name in _BY_WORD:
            by_word.append(name)
            expected = (len(old_rows), *expected[1:])
        if old is None or tuple(old.shape) != expected:
            found = None if old is None else tuple(old.shape)
            raise InputError(f"{source}: `{name}` must have shape {expected} by the options, got {found}")
        check_finite(old, f"{source}: `{name}`")
    with torch.no_grad():
        for name, parameter in parameters.items():
            if name in by_word:
                parameter[new_ids] = pretrained.weights[name][old_ids].to(parameter)
            elif name in pretrained.weights:
                parameter.copy_(pretrained.weights[name])
    return CarriedOver(len(words), len(pairs) if by_word else 0, "softmax.bias" in by_word)


def _check_sharing(options: BiLMOptions, other: BiLMOptions, source: str) -> None:
    if options.share_embedding_softmax != other.share_embedding_softmax:
        raise InputError(
            f"{source}: its `share_embedding_softmax` must be that of `options`, {options.share_embedding_softmax}, "
            f"got {other.share_embedding_softmax}"
        )
