"""Adagrad as bilm-tf trains with it, over dense and row-sparse gradients, with the global-norm clip built in."""

import math
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Optional

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from allennlp_elmo_plus.kernels.arrays import arrays, arrays_to_fill
from allennlp_elmo_plus.kernels.backend import loops_for
from allennlp_elmo_plus.training.distributed.sparse_gradients import SparseGradientAllReduce

# Elements updated at once on a CPU, so that parameter, gradient and accumulator stay in the cache between operations.
CPU_BLOCK_SIZE = 1 << 17


class Adagrad(torch.optim.Optimizer):
    """Adagrad (Duchi et al. 2011) with TensorFlow's conventions, after an exact clip by the global norm:

        scale = max_norm / max(norm, max_norm),    norm = the L2 norm of all gradients together
        sum += (scale * grad)^2,    param -= lr * scale * grad / sqrt(sum)

    `sum` starts at `initial_accumulator_value`; there is no epsilon. The clip lives here because
    `torch.nn.utils.clip_grad_norm_` refuses sparse gradients; unlike that function it adds no 1e-6 to the norm.
    Gradients are not scaled in place, but sparse ones are left coalesced.

    A gradient that is sparse in its first dimension updates the rows it holds and reads no others, so that the time of
    a step does not depend on the number of rows. The result is that of the same gradient made dense.

    max_norm: None for no clip. row_exchange: averages sparse gradients over processes, before the norm is taken.
    Parameter groups may set `lr` and `initial_accumulator_value`; the norm is over all groups. `last_grad_norm`: the
    norm before the clip at the last `step`, None before the first.

    Where the norm is not finite, `step` changes nothing and calls `on_nonfinite_norm` with it; unless that is set, it raises
    `FloatingPointError`.

    Raises `ValueError` for arguments out of range. `step` raises `ValueError` for a gradient sparse in further dimensions.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.2,
        initial_accumulator_value: float = 1.0,
        max_norm: Optional[float] = None,
        row_exchange: Optional[SparseGradientAllReduce] = None,
    ) -> None:
        if max_norm is not None and not 0 < max_norm < math.inf:
            raise ValueError(f"`max_norm` must be positive and finite, or None for no clip, got {max_norm}")
        self.max_norm = max_norm
        self.row_exchange = row_exchange
        self.last_grad_norm: Optional[float] = None
        self.on_nonfinite_norm: Optional[Callable[[float], None]] = None
        super().__init__(params, {"lr": lr, "initial_accumulator_value": initial_accumulator_value, "num_steps": 0})

    def add_param_group(self, param_group: Any) -> None:
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if not 0 <= group["lr"] < math.inf:
            raise ValueError(f"`lr` must be at least 0 and finite, got {group['lr']}")
        if not 0 < group["initial_accumulator_value"] < math.inf:
            raise ValueError(
                f"`initial_accumulator_value` must be positive and finite, got {group['initial_accumulator_value']}"
            )

    @torch.no_grad()
    def step(self, closure: Optional[Callable[[], Any]] = None) -> Any:  # type: ignore[override]
        """One update of every parameter that has a gradient. Returns the closure's loss, or None."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self.row_exchange is not None:
            self.row_exchange.average()
        self.last_grad_norm = norm = self._global_norm()
        if not math.isfinite(norm):
            if self.on_nonfinite_norm is None:
                step = self.param_groups[0]["num_steps"] + 1
                raise FloatingPointError(
                    f"the gradient norm is {norm} at optimizer step {step}; no parameter was changed"
                )
            self.on_nonfinite_norm(norm)
            return loss
        scale = 1.0 if self.max_norm is None else self.max_norm / max(norm, self.max_norm)
        for group in self.param_groups:
            group["num_steps"] += 1
            params = [param for param in group["params"] if param.grad is not None]
            for param in params:
                if not self.state[param]:
                    initial = group["initial_accumulator_value"]
                    self.state[param]["sum"] = torch.full_like(param, initial, memory_format=torch.preserve_format)
            dense = [param for param in params if not param.grad.is_sparse]
            dense_sums = [self.state[param]["sum"] for param in dense]
            update = _update_one_by_one if all(param.device.type == "cpu" for param in dense) else _update_together
            update(dense, [param.grad for param in dense], dense_sums, group["lr"], scale)
            for param in params:
                if param.grad.is_sparse:
                    _update_rows(param, param.grad, self.state[param]["sum"], group["lr"], scale)
        return loss

    def _global_norm(self) -> float:
        """The L2 norm of all gradients; coalesces the sparse ones, whose repeated rows would count wrongly."""
        values: list[Tensor] = []
        for param in (param for group in self.param_groups for param in group["params"] if param.grad is not None):
            if param.grad.is_sparse:
                if param.grad.sparse_dim() != 1:
                    raise ValueError(
                        f"a sparse gradient must be sparse in its first dimension only, got {param.grad.sparse_dim()} "
                        f"sparse dimensions for a parameter of shape {tuple(param.shape)}"
                    )
                param.grad = param.grad.coalesce()
                values.append(param.grad.values())
            else:
                values.append(param.grad)
        if not values:
            return 0.0
        norms = [norm.to(device=values[0].device, dtype=torch.float64) for norm in torch._foreach_norm(values)]
        return float(torch.linalg.vector_norm(torch.stack(norms)))


def _update_one_by_one(params: list[Tensor], grads: list[Tensor], sums: list[Tensor], lr: float, scale: float) -> None:
    """Updates dense tensors on a CPU, in one pass over each, or block by block."""
    for param, grad, grad_sum in zip(params, grads, sums, strict=True):
        loops = _loops_for(param, grad_sum)
        if loops is not None:
            of_param, of_sum = arrays_to_fill(param.view(-1), grad_sum.view(-1))
            loops.update(of_param, *arrays(grad.reshape(-1)), of_sum, np.float32(scale**2), np.float32(lr * scale))
            increment_version(param)
            continue
        for part, part_grad, part_sum in zip(_blocks(param), _blocks(grad), _blocks(grad_sum), strict=True):
            part_sum.addcmul_(part_grad, part_grad, value=scale**2)
            part.addcdiv_(part_grad, part_sum.sqrt(), value=-lr * scale)


def _update_together(params: list[Tensor], grads: list[Tensor], sums: list[Tensor], lr: float, scale: float) -> None:
    """Updates dense tensors on an accelerator, all of them in a few launches."""
    torch._foreach_addcmul_(sums, grads, grads, value=scale**2)
    torch._foreach_addcdiv_(params, grads, torch._foreach_sqrt(sums), value=-lr * scale)


def _update_rows(param: Tensor, grad: Tensor, grad_sum: Tensor, lr: float, scale: float) -> None:
    """Updates the rows of `param` (V, ...) that the coalesced sparse `grad` holds."""
    values = grad.values()
    loops = _loops_for(param, grad_sum)
    if loops is not None:
        width = math.prod(param.shape[1:])
        of_param, of_sum = arrays_to_fill(param.view(-1, width), grad_sum.view(-1, width))
        rows, of_rows = arrays(grad.indices()[0], values.reshape(len(values), width))
        loops.update_rows(of_param, rows, of_rows, of_sum, np.float32(scale**2), np.float32(lr * scale))
        increment_version(param)
        return
    sizes = [len(block) for block in _blocks(values)]
    for rows, block in zip(grad.indices()[0].split(sizes), values.split(sizes), strict=True):
        row_sum = grad_sum[rows].addcmul_(block, block, value=scale**2)
        grad_sum[rows] = row_sum
        param[rows] = param[rows].addcdiv_(block, row_sum.sqrt_(), value=-lr * scale)


def _loops_for(param: Tensor, grad_sum: Tensor) -> Optional[ModuleType]:
    return loops_for(param, "adagrad._numba_kernels") if param.is_contiguous() and grad_sum.is_contiguous() else None


def _blocks(tensor: Tensor) -> tuple[Tensor, ...]:
    """Views of successive rows that cover `tensor`: of CPU_BLOCK_SIZE elements on a CPU, all of it elsewhere."""
    if tensor.device.type != "cpu" or tensor.numel() <= CPU_BLOCK_SIZE:
        return (tensor,)
    return tensor.split(max(1, CPU_BLOCK_SIZE * len(tensor) // tensor.numel()))
