"""The operands that both softmax losses share: their shapes, and the logits of targets."""

import torch
from torch import Tensor


def check_shapes(hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor) -> None:
    """Check that `hidden` is (N, D), `targets` (N,) int64, `weight` (V, D) and `bias` (V,).

    Raises:
        ValueError: A tensor has another shape or type.
    """
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
    """Return the logit of one word per token, (N,), from the words' weights (N, D) and bias (N,), in the bias's type."""
    return (hidden.to(target_bias.dtype) * target_weight.to(target_bias.dtype)).sum(1).add_(target_bias)
