"""Adagrad's update of parameters by dense gradients, and by gradients that are sparse in the first dimension."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from allennlp_elmo_plus.kernels.adagrad import reference
from allennlp_elmo_plus.kernels.backend import run


@torch.no_grad()
def adagrad_update(
    params: Sequence[Tensor], grads: Sequence[Tensor], sums: Sequence[Tensor], lr: float, scale: float
) -> None:
    """Update `params` and `sums` in place: `sum += (scale * grad)^2`, `param -= lr * scale * grad / sqrt(sum)`.

    Args:
        params: Parameters of any shapes and types.
        grads: The gradient of each parameter: dense, or coalesced and sparse in its first dimension. A sparse gradient updates the
            rows that it holds, and no other row is read. Dense gradients may be multiplied by `scale` in place.
        sums: The sum of squares of all gradients so far of each parameter, positive.
        lr: The learning rate.
        scale: The factor of all gradients that a clip by the global norm determines.
    """
    tensors = list(zip(params, grads, sums, strict=True))
    implementations = {
        "torch": lambda: _torch_update(tensors, lr, scale),
        "reference": lambda: _reference_update(tensors, lr, scale),
    }
    if tensors:
        run("adagrad", params[0], implementations)


def _reference_update(tensors: Sequence[tuple[Tensor, Tensor, Tensor]], lr: float, scale: float) -> None:
    for of_param in tensors:
        reference.adagrad_update(*of_param, lr, scale)


def _torch_update(tensors: Sequence[tuple[Tensor, Tensor, Tensor]], lr: float, scale: float) -> None:
    fused, others = [], []
    for param, grad, grad_sum in tensors:
        if grad.is_sparse:
            rows = grad.indices()[0]
            param_rows, sum_rows = param[rows], grad_sum[rows]
            _update([(param_rows, grad.values(), sum_rows)], lr, scale)
            param[rows], grad_sum[rows] = param_rows, sum_rows
        elif param.device.type == "cpu" and all(tensor.is_contiguous() for tensor in (param, grad, grad_sum)):
            fused.append((param, grad, grad_sum))
        else:
            others.append((param, grad, grad_sum))
    if fused:
        # One pass over memory, by the operation of `torch.optim.Adagrad(fused=True)`. Its own scale is float32 for every dtype.
        fused_params, fused_grads, fused_sums = (list(column) for column in zip(*fused))
        if scale != 1:
            torch._foreach_mul_(fused_grads, scale)
        steps = [torch.zeros(()) for _ in fused]
        torch._fused_adagrad_(
            fused_params, fused_grads, fused_sums, steps, lr=lr, lr_decay=0.0, weight_decay=0.0, eps=0.0, maximize=False
        )
        # The fused operation does not tell autograd that it has changed the parameters.
        increment_version(fused_params)
    if others:
        _update(others, lr, scale)


def _update(tensors: Sequence[tuple[Tensor, Tensor, Tensor]], lr: float, scale: float) -> None:
    """Update dense parameters of any strides, on an accelerator in few launches for all parameters together."""
    params, grads, sums = (list(column) for column in zip(*tensors))
    torch._foreach_addcmul_(sums, grads, grads, value=scale**2)
    torch._foreach_addcdiv_(params, grads, torch._foreach_sqrt(sums), value=-lr * scale)
