"""The output layer that both directions share."""

import torch
from torch import nn


class SoftmaxLayer(nn.Module):
    """The weights of the softmax over the vocabulary: logits of a word are `weight[word] . hidden + bias[word]`.

    Parameters: `weight` (V, D), `bias` (V). The forward and the backward language model share both, as in bilm-tf. A
    word embedding (V, D) can be shared too, by assigning its parameter to `weight`. Zeros until initialised or loaded.

    Raises `ValueError` unless `vocab_size` and `dim` are at least 1.
    """

    def __init__(self, vocab_size: int, dim: int) -> None:
        super().__init__()
        for name, value in (("vocab_size", vocab_size), ("dim", dim)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}")
        self.weight = nn.Parameter(torch.zeros(vocab_size, dim))
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    @property
    def is_zero_initialized(self) -> bool:
        """Whether all weights are zero, which training never leaves: every word is as likely as every other."""
        return not self.bias.any() and not self.weight.any()
