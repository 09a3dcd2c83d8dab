"""From summed negative log-likelihoods to the scalar that training descends."""

from collections.abc import Iterable
from typing import Any, Optional

import torch
from torch import Tensor


def mean_loss(forward_nll_sum: Tensor, backward_nll_sum: Optional[Tensor], denominator: int) -> Tensor:
    """0.5 * (mean forward + mean backward), nats: (); the forward mean alone where there is no backward direction."""
    total = forward_nll_sum if backward_nll_sum is None else 0.5 * (forward_nll_sum + backward_nll_sum)
    return total / denominator


def with_gradient_times(loss: Tensor, factor: float) -> Tensor:
    """
    `loss` unchanged in value, `factor` times as steep.

    bilm-tf descends loss * unroll_steps. That factor decides how often the clip by the global norm acts and how fast Adagrad's
    sums grow, so the gradient must have it; the loss that is reported should not.
    """
    return _Steeper.apply(loss, factor)  # type: ignore[no-any-return]


class _Steeper(torch.autograd.Function):
    """Not as a sum of terms, which would make NaN of an infinite loss."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, factor: float) -> Tensor:  # type: ignore[override]
        ctx.factor = factor
        return loss.view_as(loss)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return grad * ctx.factor, None


def with_all_parameters(loss: Tensor, parameters: Iterable[Tensor]) -> Tensor:
    """
    `loss` unchanged, with a gradient of zeros at least for each of `parameters`.

    The window of a process whose lanes have ended reaches no parameter of a recurrence that runs no step, but those that average
    the gradients with this process wait for every one of them.
    """
    return loss + 0 * sum(parameter.sum() for parameter in parameters)
