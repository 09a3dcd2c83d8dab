"""The training loss: summed negative log-likelihoods -> the scalar that training minimizes."""

from typing import Any, Optional

import torch
from torch import Tensor, nn

from allennlp_elmo_plus.data.batching.batch import LanguageModelBatch
from allennlp_elmo_plus.training.distributed.sparse_gradients import is_excluded_from_ddp
from allennlp_elmo_plus.training.distributed.world import all_reduce_mean, world


def mean_loss(forward_nll_sum: Tensor, backward_nll_sum: Optional[Tensor], denominator: int) -> Tensor:
    """Return 0.5 * (forward + backward) nats per target, (), or the forward mean alone for a forward-only model.

    Args:
        forward_nll_sum: The forward negative log-likelihood, summed, ().
        backward_nll_sum: The backward one, (); None for a forward-only model.
        denominator: The number of targets of one direction.
    """
    total = forward_nll_sum if backward_nll_sum is None else 0.5 * (forward_nll_sum + backward_nll_sum)
    return total / denominator


def training_loss(
    model: nn.Module,
    batch: LanguageModelBatch,
    forward_nll_sum: Tensor,
    backward_nll_sum: Optional[Tensor],
    gradient_factor: float,
) -> Tensor:
    """Return the `mean_loss` of `batch` over its own targets, (), with `gradient_factor` times its gradient.

    In the last windows of an epoch some lanes have ended. Their value is the mean over the remaining targets, but their gradient is
    that of the sum divided by all positions of the window, as in every other window. The mean over the few targets of the last lanes
    would change the weights as much as a whole window does: the held-out perplexity of WikiText-2 was then 185 instead of 169.
    bilm-tf has no such windows.

    A batch without targets has the loss 0, and gradients of zeros for the parameters of `model`. Where `batch.loss_weight` is set,
    the processes have unequal shares of a window or of sentences: the value is then the loss of all of them in every process, and
    the mean of the gradients over the processes is the gradient of all of them.
    """
    num_targets = sum(batch.batch_sizes)
    loss = mean_loss(forward_nll_sum, backward_nll_sum, max(1, num_targets))
    value, weight = loss.detach(), 1.0
    if batch.loss_weight is not None:
        weight = batch.loss_weight
        value = value * weight
        value.fill_(all_reduce_mean(value.item(), value.device))
    if batch.carries_state:
        weight = num_targets / batch.forward_inputs.numel()
    loss = scale_gradient(loss, gradient_factor * weight, value)
    return loss if num_targets else _touch_parameters(loss, model)


def skipped_loss(model: nn.Module, loss: Tensor) -> Tensor:
    """Return a 0 in place of `loss` (), which gives no parameter a gradient; in distributed training, gradients of zeros."""
    zero = torch.zeros_like(loss, requires_grad=True)
    return _touch_parameters(zero, model) if world().num_processes > 1 else zero


def scale_gradient(loss: Tensor, factor: float, value: Tensor) -> Tensor:
    """Return `value` with `factor` times the gradient of `loss`.

    bilm-tf minimizes loss * unroll_steps. This factor decides how often the clip by the global norm applies and how fast Adagrad's
    sums grow. The gradient must therefore have it; the reported loss must not.
    """
    return _ScaleGradient.apply(loss, factor, value)  # type: ignore[no-any-return]


class _ScaleGradient(torch.autograd.Function):
    """The autograd function of `scale_gradient`. A sum of terms instead would turn an infinite loss into NaN."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, factor: float, value: Tensor) -> Tensor:  # type: ignore[override]
        ctx.factor = factor
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return grad * ctx.factor, None, None


def _touch_parameters(loss: Tensor, model: nn.Module) -> Tensor:
    """Return `loss` unchanged, with a gradient, of zeros if nothing else, for each parameter that `DistributedDataParallel` averages.

    Where all lanes of a process have ended, its loss depends on no parameter of the recurrent layers. The other processes still
    wait for the gradients of all parameters.
    """
    averaged = (parameter for parameter in model.parameters() if parameter.requires_grad)
    return loss + 0 * sum(parameter.sum() for parameter in averaged if not is_excluded_from_ddp(parameter))
