"""The output layer that both directions share, and what its two losses have in common."""

import torch
from torch import Tensor, nn


class SoftmaxLayer(nn.Module):
    """
    The weights of the softmax over the vocabulary: logits of a word are `weight[word] . hidden + bias[word]`.

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


def check_shapes(hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor) -> None:
    """Raises `ValueError` unless hidden is (N, D), targets (N,) int64, weight (V, D), bias (V,)."""
    if hidden.dim() != 2 or weight.dim() != 2 or hidden.shape[1] != weight.shape[1]:
        raise ValueError(
            f"`hidden` must be (N, D) and `weight` (V, D) with the same D, "
            f"got {tuple(hidden.shape)} and {tuple(weight.shape)}"
        )
    if targets.shape != hidden.shape[:1] or targets.dtype != torch.int64:
        raise ValueError(f"`targets` must be ({len(hidden)},) of int64, got {tuple(targets.shape)} of {targets.dtype}")
    if bias.shape != weight.shape[:1]:
        raise ValueError(f"`bias` must be ({len(weight)},), one for each row of `weight`, got {tuple(bias.shape)}")


def target_logits(hidden: Tensor, target_weight: Tensor, target_bias: Tensor) -> Tensor:
    """
    (N,) logits of one word a token, from hidden (N, D), the words' weights (N, D) and bias (N,), in the bias's type.
    """
    return (hidden.to(target_bias.dtype) * target_weight.to(target_bias.dtype)).sum(1).add_(target_bias)
