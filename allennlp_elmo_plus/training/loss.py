"""From summed negative log-likelihoods to the scalar that training descends."""

from collections.abc import Iterable
from typing import Any, Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.data.batching.window_batcher import LanguageModelBatch
from allennlp_elmo_plus.training.distributed.world import mean_of_all, world


def mean_loss(forward_nll_sum: Tensor, backward_nll_sum: Optional[Tensor], denominator: int) -> Tensor:
    """0.5 * (mean forward + mean backward), nats: (); the forward mean alone where there is no backward direction."""
    total = forward_nll_sum if backward_nll_sum is None else 0.5 * (forward_nll_sum + backward_nll_sum)
    return total / denominator


def training_loss(
    batch: LanguageModelBatch, forward_nll_sum: Tensor, backward_nll_sum: Optional[Tensor], gradient_factor: float
) -> Tensor:
    """Return the `mean_loss` of `batch`, (), over its own targets, those of the last windows of an epoch included, in
    which some lanes have ended; 0 for a batch without targets.

    Where `batch.loss_weight` is set, the processes have unequal shares of the window. The value is then that of the
    window as a whole, in every process. The gradient is such that its mean over the processes is the whole window's,
    times `gradient_factor`, as everywhere.
    """
    loss = mean_loss(forward_nll_sum, backward_nll_sum, max(1, sum(batch.batch_sizes)))
    if batch.loss_weight is None:
        return scale_gradient(loss, gradient_factor)
    value = loss.detach() * batch.loss_weight
    if world().num_processes > 1:
        value.fill_(mean_of_all(value.item(), value.device))
    return scale_gradient(loss, gradient_factor * batch.loss_weight, value)


def scale_gradient(loss: Tensor, factor: float, value: Optional[Tensor] = None) -> Tensor:
    """Return `value`, by default that of `loss`, with `factor` times the gradient of `loss`.

    bilm-tf descends loss * unroll_steps. That factor decides how often the clip by the global norm acts and how fast Adagrad's
    sums grow, so the gradient must have it; the loss that is reported should not.
    """
    return _ScaleGradient.apply(loss, factor, loss.detach() if value is None else value)  # type: ignore[no-any-return]


class _ScaleGradient(torch.autograd.Function):
    """Not as a sum of terms, which would make NaN of an infinite loss."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, factor: float, value: Tensor) -> Tensor:  # type: ignore[override]
        ctx.factor = factor
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return grad * ctx.factor, None, None


def touch_parameters(loss: Tensor, parameters: Iterable[Tensor]) -> Tensor:
    """`loss` unchanged, with a gradient of zeros at least for each of `parameters`.

    The window of a process whose lanes have ended reaches no parameter of a recurrence that runs no step, but those that average
    the gradients with this process wait for every one of them.
    """
    return loss + 0 * sum(parameter.sum() for parameter in parameters)
