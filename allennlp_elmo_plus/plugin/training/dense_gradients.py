"""Gradients of the sampled softmax for optimizers and clips that cannot take sparse ones."""

import logging
from functools import partial
from typing import Optional

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.training import GradientDescentTrainer
from allennlp.training.optimizers import DenseSparseAdam, MultiOptimizer

from allennlp_elmo_plus.plugin.models.bilm_model import BilmModel
from allennlp_elmo_plus.training.adagrad import Adagrad
from allennlp_elmo_plus.training.distributed.sparse_gradients import SparseGradientAllReduce, is_excluded_from_ddp
from allennlp_elmo_plus.training.distributed.world import world

logger = logging.getLogger(__name__)


def adapt_gradients(trainer: GradientDescentTrainer) -> None:
    """Change a new `trainer` so that its clips and its optimizer read dense gradients where they need them.

    The model "bilm" leaves sparse gradients for the softmax and for a word embedding. AllenNLP calls `rescale_gradients` before it
    clips gradients and calls the optimizer. There the sparse gradients are averaged over the processes of a distributed
    training, unless the optimizer does that itself, and then made dense if `reason_for_dense_gradients` has a reason. A trainer
    that needs neither, or that trains another model, is not changed.

    Raises:
        ConfigurationError: for the optimizer "sparse_adam" over dense gradients.
    """
    model = trainer.model
    if not isinstance(model, BilmModel):
        return
    if isinstance(trainer.optimizer, MultiOptimizer):
        # By itself it leaves zeros, which are dense.
        trainer.optimizer.zero_grad = partial(trainer.optimizer.zero_grad, set_to_none=True)
    # Also those that gradual unfreezing has frozen until a later epoch.
    groups = [group for part in _parts(trainer.optimizer) for group in part.param_groups]
    sparse_parameters = [param for group in groups for param in group["params"] if is_excluded_from_ddp(param)]
    reason = reason_for_dense_gradients(trainer) if sparse_parameters else None
    _refuse_sparse_adam(trainer.optimizer, set() if reason else set(map(id, sparse_parameters)))
    all_reduce = _all_reduce_for(
        trainer.optimizer, model.language_model.sparse_parameters(), needs_dense=reason is not None
    )
    if reason is None and all_reduce is None and trainer._grad_norm is not True:
        return
    if reason is not None:
        logger.info(
            '%s needs dense gradients: each step computes with all %d words of the softmax. The optimizer "bilm", with its '
            "`max_norm` in place of `grad_norm`, computes with the words sampled only",
            reason,
            len(model.language_model.softmax.bias),
        )
    rescale_gradients, clip_gradient = trainer.rescale_gradients, trainer.clip_gradient

    # A batch that is skipped has no gradients, and AllenNLP fails to compute the norm of none, and to clip none.
    def has_gradients() -> bool:
        return any(parameter.grad is not None for parameter in model.parameters())

    def average_make_dense_and_rescale() -> Optional[float]:
        if all_reduce is not None:
            all_reduce.average()
        if reason is not None:
            for parameter in sparse_parameters:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    parameter.grad = parameter.grad.to_dense()
        return rescale_gradients() if has_gradients() else None

    trainer.rescale_gradients = average_make_dense_and_rescale  # type: ignore[method-assign]
    trainer.clip_gradient = lambda: clip_gradient() if has_gradients() else None  # type: ignore[method-assign]


def reason_for_dense_gradients(trainer: GradientDescentTrainer) -> Optional[str]:
    """Returns the option of `trainer` that cannot take sparse gradients, or None if all can."""
    # With True the trainer computes the norm, and does not clip.
    if not isinstance(trainer._grad_norm, bool):
        return "`grad_norm` of the trainer"
    if trainer._grad_clipping is not None:
        return "`grad_clipping` of the trainer"
    if not _takes_sparse_gradients(trainer.optimizer):
        return f"the optimizer {type(trainer.optimizer).__name__}"
    return None


def _takes_sparse_gradients(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether `optimizer` is known to take sparse gradients; every optimizer takes dense ones."""
    if isinstance(optimizer, MultiOptimizer):
        return all(map(_takes_sparse_gradients, optimizer.optimizers.values()))
    if isinstance(optimizer, (torch.optim.SGD, torch.optim.Adagrad)):
        # Weight decay adds the dense weights; a sparse momentum grows by all rows of a step at every step.
        return not any(group["weight_decay"] or group.get("momentum") for group in optimizer.param_groups)
    return isinstance(optimizer, (Adagrad, DenseSparseAdam, torch.optim.SparseAdam))


def _refuse_sparse_adam(optimizer: torch.optim.Optimizer, sparse_ids: set[int]) -> None:
    for part in _parts(optimizer):
        if isinstance(part, torch.optim.SparseAdam):
            if any(id(parameter) not in sparse_ids for group in part.param_groups for parameter in group["params"]):
                raise ConfigurationError(
                    'the optimizer "sparse_adam" takes sparse gradients only, got parameters with dense ones: '
                    'use "dense_sparse_adam" or "adam"'
                )


def _all_reduce_for(
    optimizer: torch.optim.Optimizer, sparse_parameters: list[torch.nn.Parameter], needs_dense: bool
) -> Optional[SparseGradientAllReduce]:
    """Return the all-reduce that the trainer must call before `optimizer` steps, or None where it must call none."""
    if world().num_processes == 1 or not sparse_parameters:
        return None
    averaging = [part for part in _parts(optimizer) if isinstance(part, Adagrad) and part.sparse_all_reduce is not None]
    covered = {id(parameter) for part in averaging for parameter in part.sparse_all_reduce.parameters}  # type: ignore[union-attr]
    if not needs_dense and covered == set(map(id, sparse_parameters)):
        return None
    for part in averaging:
        part.sparse_all_reduce = None
    return SparseGradientAllReduce(sparse_parameters)


def _parts(optimizer: torch.optim.Optimizer) -> list[torch.optim.Optimizer]:
    return list(optimizer.optimizers.values()) if isinstance(optimizer, MultiOptimizer) else [optimizer]
