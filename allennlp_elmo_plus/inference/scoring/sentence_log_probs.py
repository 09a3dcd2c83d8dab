"""Log-probabilities by sentence, from the packed losses of the exact softmax."""

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.data.batching.sentence_packing import unpack


class SentenceLogProbs(NamedTuple):
    """Natural logarithms of the probability of each target, 0 past the end of a sentence."""

    num_targets: Tensor  # (B,), the number of words and one boundary
    forward_log_probs: Tensor  # (B, T), of w1 .. wn </S>
    backward_log_probs: Optional[Tensor]  # (B, T), of <S> w1 .. wn; None for a forward-only model


def sentence_log_probs(
    forward_nll: Tensor, backward_nll: Optional[Tensor], lengths: Tensor, mask: Tensor, row_order: Tensor
) -> SentenceLogProbs:
    """Return the log-probabilities of each sentence's targets, in the order of the sentences and of their words.

    Args:
        forward_nll: (N,), nats, packed as in a batch of sentences.
        backward_nll: (N,), nats, in the reading order of the backward direction; None for a forward-only model.
        lengths: (B,), the number of targets of each row.
        mask: (B, T), bool, True at targets.
        row_order: (B,), the number of the sentence in each row.
    """
    order = torch.argsort(row_order)
    backward = None
    if backward_nll is not None:
        # Mirrored within each sentence, from the reading order of the direction into the order of the sentence.
        steps = torch.arange(mask.shape[1], device=lengths.device)
        mirrored = (lengths[:, None] - 1 - steps).clamp(min=0)
        backward = (-unpack(backward_nll, mask).gather(1, mirrored) * mask)[order]
    return SentenceLogProbs(lengths[order], -unpack(forward_nll, mask)[order], backward)
