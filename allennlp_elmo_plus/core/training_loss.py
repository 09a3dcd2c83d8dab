"""From summed negative log-likelihoods to the scalar that training descends."""

from typing import Optional

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
    return loss.detach() + factor * (loss - loss.detach())
