"""Losses of which every parameter that `DistributedDataParallel` averages has a gradient."""

from collections.abc import Iterator
from typing import Optional

import torch
from torch import Tensor, nn

from allennlp_elmo_plus.data.batching.batch import LanguageModelBatch
from allennlp_elmo_plus.training.distributed.sparse_gradients import is_excluded_from_ddp
from allennlp_elmo_plus.training.distributed.world import world
from allennlp_elmo_plus.training.loss import touch_parameters, training_loss


def ddp_loss(
    model: nn.Module,
    batch: LanguageModelBatch,
    forward_nll_sum: Tensor,
    backward_nll_sum: Optional[Tensor],
    gradient_factor: float,
) -> Tensor:
    """Return the `training_loss` (), which also holds for the batch without targets of a process whose lanes have all ended."""
    loss = training_loss(batch, forward_nll_sum, backward_nll_sum, gradient_factor)
    return loss if sum(batch.batch_sizes) else touch_parameters(loss, _averaged_parameters(model))


def skipped_loss(model: nn.Module, loss: Tensor) -> Tensor:
    """Return a 0 in place of `loss` (), which gives no parameter a gradient; in distributed training, gradients of zeros."""
    zero = torch.zeros_like(loss, requires_grad=True)
    return touch_parameters(zero, _averaged_parameters(model)) if world().num_processes > 1 else zero


def _averaged_parameters(model: nn.Module) -> Iterator[Tensor]:
    return (
        parameter for parameter in model.parameters() if parameter.requires_grad and not is_excluded_from_ddp(parameter)
    )
