"""The vectors from which a biLM predicts each word of a sentence: the input of the softmax."""

from collections.abc import Sequence
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.data.text.characters import BOS_WORD, EOS_WORD
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.modules.language_model import LanguageModel


class Predictions(NamedTuple):
    """The top layer at each target of B sentences, one sentence after the other, in the order of its words."""

    forward: Tensor  # (N, D), at w1 .. wn </S>, from all words before
    backward: Optional[Tensor]  # (N, D), at <S> w1 .. wn, from all words after; None for a forward-only model
    num_targets: list[int]  # n + 1 of each sentence; N in total


def encoder_of(model: LanguageModel, vocabulary: Sequence[str], max_characters: Optional[int]) -> BiLMEncoder:
    """Return the encoder of sentences that shares its weights with `model`.

    Args:
        model: the language model.
        vocabulary: its words, among which those of word input find `<S>` and `</S>`.
        max_characters: C; None for word input.
    """
    words = list(vocabulary)
    boundary_ids = (0, 1) if max_characters is not None else (words.index(BOS_WORD), words.index(EOS_WORD))
    return BiLMEncoder(model.token_encoder, model.bilm, max_characters, boundary_ids).to(model.softmax.weight.device)


@torch.no_grad()
def predictions(encoder: BiLMEncoder, ids: Tensor, lengths: Sequence[int]) -> Predictions:
    """Return the vectors from which a biLM predicts the words of B sentences.

    Args:
        encoder: the biLM, in evaluation mode, see `encoder_of`.
        ids: (B, T, C) or (B, T), of `data.batching.sentences.sentence_ids`.
        lengths: the number of words of each sentence.

    Raises:
        ValueError: `encoder` is in training mode, where dropout would change the result.
    """
    if encoder.bilm.training:
        raise ValueError("`encoder` must be in evaluation mode, got one in training")
    layers, layout, _ = encoder(ids)
    # (B, T + 2, K), position 0 is `<S>`. The forward half at position i predicts i + 1, the backward half i - 1.
    top = layout.unpack(layers[-1], keep_boundaries=True)
    width = encoder.bilm.output_size
    num_targets = [length + 1 for length in lengths]
    forward = torch.cat([row[:number, :width] for row, number in zip(top, num_targets, strict=True)])
    if not encoder.bilm.is_bidirectional:
        return Predictions(forward, None, num_targets)
    backward = torch.cat([row[1 : number + 1, width:] for row, number in zip(top, num_targets, strict=True)])
    return Predictions(forward, backward, num_targets)
