"""Start a biLM from the weights of another one: rows that belong to words are copied by word, all other weights as they are."""

from typing import NamedTuple

import torch

from allennlp_elmo_plus.errors import InputError, count_in_words
from allennlp_elmo_plus.formats.model_files import ModelSource, PathLike
from allennlp_elmo_plus.formats.parameters import SOFTMAX_NAMES, RowMapping, StoredModel, fill_parameters
from allennlp_elmo_plus.formats.pretrained import read_model
from allennlp_elmo_plus.modules.language_model import LanguageModel
from allennlp_elmo_plus.options.bilm_options import BiLMOptions

# Weights with one row per word of the vocabulary.
_BY_WORD = ("token_encoder.embedding", *SOFTMAX_NAMES)


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


def read_pretrained(path: PathLike, options: BiLMOptions) -> StoredModel:
    """Return the biLM at `path`, with its softmax and Adagrad's sums where they are stored.

    Args:
        path: a path or a URL, see `read_model`, or a weights.hdf5 without its options.
        options: the options that the biLM must have.

    Raises:
        InputError: `read_model` refuses the files, or a softmax is shared in one of the two models alone.
    """
    stored = read_model(ModelSource(path), options, with_adagrad_sums=True)
    if options.share_embedding_softmax != stored.options.share_embedding_softmax:
        raise InputError(
            f"{path}: its `share_embedding_softmax` must be that of `options`, {options.share_embedding_softmax}, "
            f"got {stored.options.share_embedding_softmax}"
        )
    return stored


def carry_over(model: LanguageModel, stored: StoredModel, words: list[str]) -> CarriedOver:
    """Copy the weights of a biLM with the same options into `model`.

    In the softmax and in a word embedding, the rows of words that both vocabularies have are copied. The other rows of `model`
    stay as they are, and so does its softmax where `stored` has none.

    Args:
        model: the biLM to change.
        stored: the weights, with the words of their rows.
        words: the vocabulary of `model`.

    Returns:
        How much was copied.

    Raises:
        InputError: see `fill_parameters`; `model` is then unchanged.
    """
    old_rows = {word: row for row, word in enumerate(stored.vocabulary or [])}
    pairs = [(new, old_rows[word]) for new, word in enumerate(words) if word in old_rows]
    new_ids, old_ids = (torch.tensor([pair[side] for pair in pairs], dtype=torch.int64) for side in (0, 1))
    rows = dict.fromkeys(_BY_WORD, RowMapping(new_ids, old_ids, len(old_rows)))
    missing = stored.missing_softmax
    fill_parameters(model, stored.weights, stored.source, rows=rows, skip=missing)
    copied = [name for name, _ in model.named_parameters() if name in _BY_WORD and name not in missing]
    return CarriedOver(len(words), len(pairs) if copied else 0, "softmax.bias" in copied)
