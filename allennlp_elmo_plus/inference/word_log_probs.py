"""The log-probability of each word of a sentence, in each direction of a biLM. Its negative is the surprisal of the word."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.data.batching.sentences import sentence_ids
from allennlp_elmo_plus.data.text.characters import BOS_WORD, EOS_WORD
from allennlp_elmo_plus.data.text.vocabulary import look_up_words
from allennlp_elmo_plus.inference.predictions import predictions
from allennlp_elmo_plus.kernels.softmax.exact_softmax import exact_nll
from allennlp_elmo_plus.modules.language_model import LanguageModel


class WordLogProbs(NamedTuple):
    """Natural logarithms of the probability of each target of a sentence of n words, in the order of the sentence."""

    forward: Tensor  # (n + 1,), of w1 .. wn </S>, each given all words before it
    backward: Optional[
        Tensor
    ]  # (n + 1,), of <S> w1 .. wn, each given all words after it; None for a forward-only model


@torch.no_grad()
def word_log_probs(
    model: LanguageModel,
    sentences: Sequence[Sequence[str]],
    word_ids: Mapping[str, int],
    max_characters: Optional[int],
    chunk_size: int = 1024,
) -> list[WordLogProbs]:
    """Return the log-probabilities of the words of B sentences, each read from a zero state, under the exact softmax.

    Args:
        model: the language model, in evaluation mode.
        sentences: the words of each sentence, without `<S>` and `</S>`.
        word_ids: the row of the softmax of each word, from 0. Words outside are read by their characters and scored as `<UNK>`.
        max_characters: C, the characters of a word; None for word input.
        chunk_size: see `exact_nll`.

    Raises:
        ValueError: `model` is in training mode, or `chunk_size` is below 1.
    """
    device = model.softmax.weight.device
    ids = sentence_ids(sentences, max_characters, word_ids).to(device)
    states = predictions(model, ids, [len(sentence) for sentence in sentences], max_characters)

    def log_probs(hidden: Tensor, targets: Sequence[Sequence[str]]) -> tuple[Tensor, ...]:
        rows = look_up_words([word for sentence in targets for word in sentence], word_ids)
        nll = exact_nll(hidden, torch.tensor(rows, device=device), model.softmax.weight, model.softmax.bias, chunk_size)
        return (-nll).split(states.num_targets)

    forward = log_probs(states.forward, [[*sentence, EOS_WORD] for sentence in sentences])
    if states.backward is None:
        return [WordLogProbs(values, None) for values in forward]
    backward = log_probs(states.backward, [[BOS_WORD, *sentence] for sentence in sentences])
    return list(map(WordLogProbs, forward, backward))
