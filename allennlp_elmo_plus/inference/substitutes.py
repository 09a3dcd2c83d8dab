"""Find the most probable words at each position of a sentence, for each direction of a biLM."""

from collections.abc import Sequence
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.inference.predictions import predictions
from allennlp_elmo_plus.inference.top_words import TopWords, top_words
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.modules.softmax import SoftmaxLayer


class Substitutes(NamedTuple):
    """The most probable words at the positions of a sentence of n words, in the order of the sentence."""

    forward: TopWords  # (n + 1, num_words), at w1 .. wn </S>, given all words before
    backward: Optional[TopWords]  # (n + 1, num_words), at <S> w1 .. wn, given all words after


@torch.no_grad()
def substitutes(
    encoder: BiLMEncoder,
    softmax: SoftmaxLayer,
    ids: Tensor,
    lengths: Sequence[int],
    num_words: int,
    chunk_size: int = 1024,
) -> list[Substitutes]:
    """Return the `num_words` most probable words at each position of B sentences.

    Args:
        encoder: the biLM, in evaluation mode, see `predictions.encoder_of`.
        softmax: its softmax.
        ids: (B, T, C) or (B, T), of `data.batching.sentences.sentence_ids`.
        lengths: the number of words of each sentence.
        num_words: the number of words per position.
        chunk_size: see `top_words`.

    Raises:
        ValueError: `encoder` is in training mode, where dropout would change the result; or `top_words` refuses an argument.
    """
    states = predictions(encoder, ids, lengths)

    def top_words_by_sentence(hidden: Tensor) -> list[TopWords]:
        ids, log_probs = top_words(hidden, softmax.weight, softmax.bias, num_words, chunk_size)
        return list(map(TopWords, ids.split(states.num_targets), log_probs.split(states.num_targets)))

    forward = top_words_by_sentence(states.forward)
    if states.backward is None:
        return [Substitutes(words, None) for words in forward]
    return list(map(Substitutes, forward, top_words_by_sentence(states.backward)))
