"""The output layer that both directions share."""

import torch
from torch import nn

from allennlp_elmo_plus.modules.initialization import normal_


class SoftmaxLayer(nn.Module):
    """The weights of the softmax over the vocabulary: the logit of a word is `weight[word] . hidden + bias[word]`.

    Both directions share `weight` (V, D) and `bias` (V,), as in bilm-tf. A word embedding (V, D) can be shared too, by assigning
    its parameter to `weight`. Both are zero until they are initialized or loaded.

    Args:
        vocab_size: V, at least 1.
        dim: D, at least 1.
    """

    def __init__(self, vocab_size: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(vocab_size, dim))
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def reset_parameters(self) -> None:
        """Draw the initial values of all weights."""
        normal_(self.weight, 1 / self.weight.shape[1])
        nn.init.zeros_(self.bias)
