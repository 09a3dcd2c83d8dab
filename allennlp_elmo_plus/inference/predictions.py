"""The vectors from which a biLM predicts each word of a sentence: the input of the softmax."""

from collections.abc import Sequence
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.modules.language_model import LanguageModel


class Predictions(NamedTuple):
    """The top layer at each target of B sentences, one sentence after the other, in the order of its words."""

    forward: Tensor  # (N, D), at w1 .. wn </S>, from all words before
    backward: Optional[Tensor]  # (N, D), at <S> w1 .. wn, from all words after; None for a forward-only model
    num_targets: list[int]  # n + 1 of each sentence; N in total


@torch.no_grad()
def predictions(
    model: LanguageModel, ids: Tensor, lengths: Sequence[int], max_characters: Optional[int]
) -> Predictions:
    """Return the vectors from which `model` predicts the words of B sentences.

    Args:
        model: the language model, in evaluation mode.
        ids: (B, T, C) or (B, T), of `data.batching.sentences.sentence_ids`.
        lengths: the number of words of each sentence.
        max_characters: C; None for word input.

    Raises:
        ValueError: `model` is in training mode, where dropout would change the result.
    """
    if model.training:
        raise ValueError("`model` must be in evaluation mode, got one in training")
    encoder = BiLMEncoder(model.token_encoder, model.bilm, max_characters).eval()
    layers, layout, _ = encoder(ids)
    # (B, T + 2, K), position 0 is `<S>`. The forward half at position i predicts i + 1, the backward half i - 1.
    top = layout.unpack(layers[-1], keep_boundaries=True)
    width = model.bilm.output_size
    num_targets = [length + 1 for length in lengths]
    forward = torch.cat([row[:number, :width] for row, number in zip(top, num_targets, strict=True)])
    if not model.bilm.is_bidirectional:
        return Predictions(forward, None, num_targets)
    backward = torch.cat([row[1 : number + 1, width:] for row, number in zip(top, num_targets, strict=True)])
    return Predictions(forward, backward, num_targets)
