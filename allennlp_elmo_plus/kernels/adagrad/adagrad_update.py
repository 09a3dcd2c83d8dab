"""Adagrad's update of parameters by dense gradients, and by gradients that are sparse in the first dimension."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from allennlp_elmo_plus.kernels.adagrad import reference
from allennlp_elmo_plus.kernels.arrays import arrays, arrays_to_fill
from allennlp_elmo_plus.kernels.backend import forced_backend, run
from allennlp_elmo_plus.kernels.threads import balanced_groups, num_threads, run_in_threads

# Elements updated at once on a CPU, so that parameter, gradient and sum stay in the cache between operations.
CPU_BLOCK_SIZE = 1 << 17


@torch.no_grad()
def adagrad_update(
    params: Sequence[Tensor], grads: Sequence[Tensor], sums: Sequence[Tensor], lr: float, scale: float
) -> None:
    """Update `params` and `sums` in place: `sum += (scale * grad)^2`, `param -= lr * scale * grad / sqrt(sum)`.

    Args:
        params: Parameters of any shapes and types.
        grads: The gradient of each parameter: dense, or coalesced and sparse in its first dimension. A sparse gradient updates the
            rows that it holds, and no other row is read.
        sums: The sum of squares of all gradients so far of each parameter, positive.
        lr: The learning rate.
        scale: The factor of all gradients that a clip by the global norm determines.
    """
    # A dense update on an accelerator is a few launches for all parameters together.
    batched: list[tuple[Tensor, Tensor, Tensor]] = []
    others: list[tuple[Tensor, Tensor, Tensor]] = []
    for param, grad, grad_sum in zip(params, grads, sums, strict=True):
        is_batched = param.device.type != "cpu" and not grad.is_sparse and forced_backend() != "reference"
        (batched if is_batched else others).append((param, grad, grad_sum))
    if others:
        groups = balanced_groups([_num_values(grad) for _, grad, _ in others], num_threads())
        tasks = [partial(_update_each, [others[index] for index in group], lr, scale) for group in groups]
        run_in_threads(tasks, others[0][0].device)
    if batched:
        _batched_update(batched, lr, scale)


def _num_values(grad: Tensor) -> int:
    return grad.values().numel() if grad.is_sparse else grad.numel()


def _update_each(updates: Sequence[tuple[Tensor, Tensor, Tensor]], lr: float, scale: float) -> None:
    for param, grad, grad_sum in updates:
        arguments = param, grad, grad_sum, lr, scale
        implementations = {
            "numba": partial(_numba_update, *arguments),
            "torch": partial(_torch_update, *arguments),
            "reference": partial(reference.adagrad_update, *arguments),
        }
        is_contiguous = int(param.is_contiguous() and grad_sum.is_contiguous())
        run("adagrad", param, implementations, is_contiguous=is_contiguous)


def _numba_update(param: Tensor, grad: Tensor, grad_sum: Tensor, lr: float, scale: float) -> None:
    from allennlp_elmo_plus.kernels.adagrad import _numba_kernels

    factors = np.float32(scale**2), np.float32(lr * scale)
    if grad.is_sparse:
        values, width = grad.values(), math.prod(param.shape[1:])
        param_rows, sum_rows = arrays_to_fill(param.view(-1, width), grad_sum.view(-1, width))
        rows, grad_rows = arrays(grad.indices()[0], values.reshape(len(values), width))
        _numba_kernels.update_rows(param_rows, rows, grad_rows, sum_rows, *factors)
    else:
        flat_param, flat_sum = arrays_to_fill(param.view(-1), grad_sum.view(-1))
        _numba_kernels.update(flat_param, *arrays(grad.reshape(-1)), flat_sum, *factors)
    increment_version(param)


def _torch_update(param: Tensor, grad: Tensor, grad_sum: Tensor, lr: float, scale: float) -> None:
    if not grad.is_sparse:
        for part, part_grad, part_sum in zip(_blocks(param), _blocks(grad), _blocks(grad_sum), strict=True):
            part_sum.addcmul_(part_grad, part_grad, value=scale**2)
            part.addcdiv_(part_grad, part_sum.sqrt(), value=-lr * scale)
        return
    values = grad.values()
    sizes = [len(block) for block in _blocks(values)]
    for rows, block in zip(grad.indices()[0].split(sizes), values.split(sizes), strict=True):
        row_sum = grad_sum[rows].addcmul_(block, block, value=scale**2)
        grad_sum[rows] = row_sum
        param[rows] = param[rows].addcdiv_(block, row_sum.sqrt_(), value=-lr * scale)


def _batched_update(batched: Sequence[tuple[Tensor, Tensor, Tensor]], lr: float, scale: float) -> None:
    params, grads, sums = (list(tensors) for tensors in zip(*batched))
    torch._foreach_addcmul_(sums, grads, grads, value=scale**2)
    torch._foreach_addcdiv_(params, grads, torch._foreach_sqrt(sums), value=-lr * scale)


def _blocks(tensor: Tensor) -> tuple[Tensor, ...]:
    """Return views of successive rows that cover `tensor`: CPU_BLOCK_SIZE elements each on a CPU, one view elsewhere."""
    if tensor.device.type != "cpu" or tensor.numel() <= CPU_BLOCK_SIZE:
        return (tensor,)
    return tensor.split(max(1, CPU_BLOCK_SIZE * len(tensor) // tensor.numel()))
