"""What each direction of a biLM would have put in each place of a sentence."""

from collections.abc import Sequence
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.inference.top_words import TopWords, top_words
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.modules.language_model import LanguageModel


class Substitutes(NamedTuple):
    """For a sentence of n words, the likeliest words of n + 1 places, in the order of the sentence."""

    forward: TopWords  # (n + 1, num_words) in the places of w1 .. wn </S>, each given all before it
    backward: Optional[TopWords]  # (n + 1, num_words) in the places of <S> w1 .. wn, each given all after it


@torch.no_grad()
def substitutes(
    model: LanguageModel,
    ids: Tensor,
    lengths: Sequence[int],
    max_characters: Optional[int],
    num_words: int,
    chunk_size: int = 1024,
) -> list[Substitutes]:
    """The `num_words` likeliest words in each place of B sentences, given as `data.batching.sentence_ids` makes them: ids (B, T,
    C) or (B, T),
    lengths: the words of each.

    Raises what `top_words` raises, and `ValueError` for a model in training, whose dropout would change the result.
    """
    if model.training:
        raise ValueError("`model` must be in evaluation mode, got one in training")
    encoder = BiLMEncoder(model.token_encoder, model.bilm, max_characters).eval()
    layers, layout, _ = encoder(ids)
    # (B, T + 2, K): what the direction has read at place i, `<S>` being place 0, predicts its neighbour.
    top = layout.unpack(layers[-1], keep_boundaries=True)
    width = model.bilm.output_size
    places = [length + 1 for length in lengths]

    def of(hidden: list[Tensor]) -> list[TopWords]:
        found = top_words(torch.cat(hidden), model.softmax.weight, model.softmax.bias, num_words, chunk_size)
        return [TopWords(*each) for each in zip(found.ids.split(places), found.log_probs.split(places), strict=True)]

    forward = of([row[:number, :width] for row, number in zip(top, places, strict=True)])
    if not model.is_bidirectional:
        return [Substitutes(each, None) for each in forward]
    backward = of([row[1 : number + 1, width:] for row, number in zip(top, places, strict=True)])
    return [Substitutes(*each) for each in zip(forward, backward, strict=True)]
