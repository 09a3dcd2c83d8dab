"""The middle of the sampled softmax by PyTorch or Triton: from the logits of some tokens to the gradients with respect to them."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from allennlp_elmo_plus.kernels.backend import run
from allennlp_elmo_plus.kernels.lstm.stacked_lstm import check_kernels


class LogitGrads(NamedTuple):
    """Gradients of the summed nll of n tokens with respect to the logits."""

    nll_sum: Tensor  # ()
    unnormalized: Tensor  # (n, S), with respect to sampled words' logits, times the token's total
    inverse_total: Tensor  # (n,)
    target: Tensor  # (n,), with respect to the target's logit, where the target is not sampled
    bias: Tensor  # (S,), with respect to sampled words' bias


def logit_grads(logits: Tensor, columns: Tensor, is_sampled: Tensor, unsampled_logits: Tensor) -> LogitGrads:
    """Return the gradients with respect to the logits of n tokens.

    Args:
        logits: The sampled words' logits, (n, S); overwritten.
        columns: The target's index among the sampled words, (n,), where `is_sampled`.
        is_sampled: Whether the target is sampled, (n,) bool.
        unsampled_logits: The target's logit where the target is not sampled, (n,).
    """
    # Below this, exponentials are denormal numbers: nothing to any sum, but a hundred times slower to multiply.
    lowest = math.log(torch.finfo(logits.dtype).tiny) + 1
    operands = logits, columns, is_sampled, unsampled_logits, lowest
    implementations = {
        "triton": lambda: _triton_logit_gradients(*operands),
        "torch": lambda: _torch_logit_gradients(*operands),
    }
    nll, inverse_total, grad_target = run(
        "sampled_softmax.logits", logits, implementations, num_samples=logits.shape[1]
    )
    return LogitGrads(nll.sum(), logits, inverse_total, grad_target, logits.t() @ inverse_total)


def _triton_logit_gradients(logits: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    check_kernels(logits.device, logits.dtype)
    from allennlp_elmo_plus.kernels.softmax._triton_kernels import logit_gradients

    # Triton launches on the current device, which need not be the tensors'.
    with torch.cuda.device_of(logits):
        return logit_gradients(logits, *arguments)


def _torch_logit_gradients(
    logits: Tensor, columns: Tensor, is_sampled: Tensor, unsampled_logits: Tensor, lowest: float
) -> tuple[Tensor, Tensor, Tensor]:
    columns = columns.unsqueeze(1)
    target = torch.where(is_sampled, logits.gather(1, columns).squeeze(1), unsampled_logits)
    peak = torch.maximum(logits.amax(1), target)
    exponentials = logits.sub_(peak.unsqueeze(1)).clamp_(min=lowest).exp_()
    target_exponential = target.sub_(peak).exp()
    total = exponentials.sum(1).add_(target_exponential.masked_fill(is_sampled, 0))
    exponentials.scatter_add_(1, columns, total.neg().mul_(is_sampled).unsqueeze(1))
    inverse_total = total.reciprocal()
    return total.log() - target, inverse_total, target_exponential.mul_(inverse_total).sub_(1)
