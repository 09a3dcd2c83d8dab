"""A biLM as its files hold it, and its weights copied into the parameters of a module: checked first, then all at once."""

import dataclasses
import logging
from collections.abc import Collection, Mapping
from typing import NamedTuple, Optional

import torch
from torch import Tensor, nn

from allennlp_elmo_plus.data.text.characters import BOS_WORD, EOS_WORD
from allennlp_elmo_plus.data.text.vocabulary import SPECIAL_WORDS
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.modules.build import build_encoder, build_language_model
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.modules.language_model import LanguageModel
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.storage.torch_weights import check_finite

logger = logging.getLogger(__name__)

SOFTMAX_NAMES = ("softmax.weight", "softmax.bias")


class PretrainedModel(NamedTuple):
    """A biLM with its softmax."""

    model: LanguageModel
    options: BiLMOptions
    vocabulary: list[str]  # in bilm-tf's order


@dataclasses.dataclass(frozen=True)
class StoredModel:
    """A biLM as its files hold it: the result of every reader in `KINDS`.

    Attributes:
        source: the file or the directory, for error messages.
        options: the options; for word input with `n_tokens_vocab`.
        weights: the weights by their names in a LanguageModel, with a softmax only where one was trained and requested.
        vocabulary: the words in the order of bilm-tf's ids; None where the files do not hold them.
        adagrad_sums: Adagrad's sums of squared gradients by the names of the weights, where they are stored and requested.
    """

    source: str
    options: BiLMOptions
    weights: Mapping[str, Tensor]
    vocabulary: Optional[list[str]]
    adagrad_sums: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)

    @property
    def missing_softmax(self) -> list[str]:
        """Return the names of the softmax's weights that `weights` lacks."""
        # A shared softmax is the word embedding, and bilm-tf's files hold only its bias.
        names = SOFTMAX_NAMES[self.options.share_embedding_softmax :]
        return [name for name in names if name not in self.weights]

    def build_encoder(self) -> BiLMEncoder:
        """Return the biLM without its softmax. An InputError is raised where a weight is not finite."""
        encoder = build_encoder(self.options, self._boundary_ids())
        fill_parameters(encoder, self.weights, self.source)
        return encoder

    def build_language_model(self) -> PretrainedModel:
        """Return the biLM with its softmax, of zeros where none is stored. It raises the errors of `build_encoder`."""
        words = self.vocabulary or list(SPECIAL_WORDS)
        options = dataclasses.replace(self.options, n_tokens_vocab=len(words))
        model = build_language_model(options, len(words))
        with torch.no_grad():
            for name in self.missing_softmax:
                model.get_parameter(name).zero_()
        # After the zeros: a shared softmax is the word embedding.
        fill_parameters(model, self.weights, self.source, skip=self.missing_softmax)
        return PretrainedModel(model, options, words)

    def _boundary_ids(self) -> tuple[int, int]:
        """Return the ids of `<S>` and `</S>`, which only word input needs."""
        if self.options.char_cnn is not None:
            return 0, 1
        if self.vocabulary is None:
            logger.warning(
                "%s: there is no vocab.txt beside it; assuming that <S> and </S> are words 0 and 1", self.source
            )
            return 0, 1
        return self.vocabulary.index(BOS_WORD), self.vocabulary.index(EOS_WORD)


class RowMapping(NamedTuple):
    """Which row of a weight goes into which row of a parameter; the other rows of the parameter stay as they are."""

    new: Tensor  # (n,) int64, rows of the parameter
    old: Tensor  # (n,) int64, rows of the weight
    num_old: int  # the rows that the weight must have


def fill_parameters(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    source: str,
    prefix: str = "",
    rows: Mapping[str, RowMapping] = {},  # noqa: B006 (never changed)
    skip: Collection[str] = (),
) -> None:
    """Copy `weights` into all parameters of `module`. When a weight is refused, no parameter has been changed.

    Args:
        module: the module; its parameters keep their type and device.
        weights: a weight for each parameter, by the parameter's name; further weights are ignored.
        source: the file that the weights come from, for error messages.
        prefix: precedes a parameter's name in `source`, for error messages.
        rows: for parameters that are copied row by row, by name.
        skip: names of parameters that stay as they are.

    Raises:
        InputError: a weight is missing, has another shape, or holds numbers that are not finite in float32. The message names
            the parameter and `source`.
    """
    parameters = {name: parameter for name, parameter in module.named_parameters() if name not in skip}
    for name, parameter in parameters.items():
        expected = tuple(parameter.shape)
        if name in rows:
            expected = (rows[name].num_old, *expected[1:])
        shape = tuple(weights[name].shape) if name in weights else None
        if shape != expected:
            raise InputError(f"{source}: `{prefix}{name}` must have shape {expected} by the options, got {shape}")
        check_finite(weights[name], f"{source}: `{prefix}{name}`")
    with torch.no_grad():
        for name, parameter in parameters.items():
            if name in rows:
                parameter[rows[name].new] = weights[name][rows[name].old].to(parameter)
            else:
                parameter.copy_(weights[name])
