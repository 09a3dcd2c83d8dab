"""The optimizer of bilm-tf: Adagrad over dense and row-sparse gradients, with the clip by the global norm built in."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from typing import Any, Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.kernels.adagrad.adagrad_update import adagrad_update
from allennlp_elmo_plus.kernels.threads import balanced_groups, num_threads, run_in_threads
from allennlp_elmo_plus.training.distributed.sparse_gradients import SparseGradientAllReduce

_INITIAL_SUM = "_initial_adagrad_sum"


def set_initial_sum(parameter: Tensor, squares: Tensor) -> None:
    """Have the next `Adagrad` over `parameter` begin with the sum `squares`, of an earlier training.

    Args:
        parameter: the parameter.
        squares: the sum of squared gradients, of the same shape.
    """
    setattr(parameter, _INITIAL_SUM, squares)


class Adagrad(torch.optim.Optimizer):
    """Adagrad (Duchi et al. 2011) with TensorFlow's conventions, after an exact clip by the global norm.

        scale = max_norm / max(norm, max_norm),    norm = the L2 norm of all gradients together
        sum += (scale * grad)^2,    param -= lr * scale * grad / sqrt(sum)

    There is no epsilon. The clip belongs to the optimizer because `torch.nn.utils.clip_grad_norm_` refuses sparse gradients; unlike
    that function it adds no 1e-6 to the norm. Gradients are not scaled in place, but sparse gradients are coalesced in place.

    A gradient that is sparse in its first dimension updates the rows that it holds and reads no other rows, so that the time of a
    step does not depend on the number of rows. The result is that of the same gradient made dense.

    Args:
        params: Parameters or parameter groups. A group may set `lr` and `initial_accumulator_value`; the norm is over all groups.
        lr: Learning rate, at least 0.
        initial_accumulator_value: Initial value of `sum`, above 0, unless `set_initial_sum` was called with the parameter.
        max_norm: The global norm to clip to, above 0; None for no clip.
        sparse_all_reduce: Averages sparse gradients over processes before the norm is computed.

    Attributes:
        last_grad_norm: The global norm before the clip at the last `step`; None before the first.
        on_nonfinite_norm: Called with the norm by a `step` whose norm is not finite; that step changes no parameter. Where it is
            None, such a step raises `FloatingPointError`.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.2,
        initial_accumulator_value: float = 1.0,
        max_norm: Optional[float] = None,
        sparse_all_reduce: Optional[SparseGradientAllReduce] = None,
    ) -> None:
        if max_norm is not None and not 0 < max_norm < math.inf:
            raise ValueError(f"`max_norm` must be positive and finite, or None for no clip, got {max_norm}")
        self.max_norm = max_norm
        self.sparse_all_reduce = sparse_all_reduce
        self.last_grad_norm: Optional[float] = None
        self.on_nonfinite_norm: Optional[Callable[[float], None]] = None
        super().__init__(params, {"lr": lr, "initial_accumulator_value": initial_accumulator_value, "num_steps": 0})

    def add_param_group(self, param_group: Any) -> None:
        """Add a group of parameters to the optimizer.

        Raises:
            ValueError: `lr` or `initial_accumulator_value` of the group is out of range.
        """
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if not 0 <= group["lr"] < math.inf:
            raise ValueError(f"`lr` must be at least 0 and finite, got {group['lr']}")
        if not 0 < group["initial_accumulator_value"] < math.inf:
            raise ValueError(
                f"`initial_accumulator_value` must be positive and finite, got {group['initial_accumulator_value']}"
            )
        for param in group["params"]:
            if hasattr(param, _INITIAL_SUM):
                self.state[param]["sum"] = getattr(param, _INITIAL_SUM).to(param)
                delattr(param, _INITIAL_SUM)

    @torch.no_grad()
    def step(self, closure: Optional[Callable[[], Any]] = None) -> Any:  # type: ignore[override]
        """Return the closure's loss, or None, after one update of each parameter that has a gradient.

        Raises:
            FloatingPointError: The norm of the gradients is not finite, and `on_nonfinite_norm` is None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self.sparse_all_reduce is not None:
            self.sparse_all_reduce.average()
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
            grads = [param.grad for param in params]
            sums = [self.state[param]["sum"] for param in params]
            adagrad_update(params, grads, sums, group["lr"], scale)
        return loss

    def _global_norm(self) -> float:
        """Return the L2 norm of all gradients, and coalesce the sparse gradients, whose repeated rows would be counted wrongly.

        Raises:
            ValueError: A gradient is sparse in further dimensions than the first.
        """
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
        groups = balanced_groups([value.numel() for value in values], num_threads())
        tasks = [partial(torch._foreach_norm, [values[index] for index in group]) for group in groups if group]
        # In the order of the parameters again, so that the sum has the same bits with any number of threads.
        found = zip(chain(*groups), chain(*run_in_threads(tasks, values[0].device)))
        norms = [norm.to(device=values[0].device, dtype=torch.float64) for _, norm in sorted(found, key=lambda n: n[0])]
        return float(torch.linalg.vector_norm(torch.stack(norms)))
