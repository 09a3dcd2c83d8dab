"""Average gradients that are sparse by rows over the processes of `torch.distributed`.

The gradient of a sampled softmax over V words is nonzero in some thousand of its V rows. `DistributedDataParallel` would all-reduce
all V rows at every step. Here the processes first find the union of their rows, with one byte per row, and then all-reduce these
rows alone. All processes get the same bits, because each sum is computed once.
"""

from collections.abc import Sequence
from typing import NamedTuple, Optional

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

# Attribute of a parameter: set to False by `exclude_from_ddp`, to True by the `SparseGradientAllReduce` that averages its gradient.
_MARK = "is_all_reduced_by_rows"


class AllReducedBytes(NamedTuple):
    """Size of the tensors that a process all-reduces in one step. A ring of W processes sends 2 (W - 1) / W times as much each."""

    rows: int  # one byte per row of each parameter: whether it has a gradient
    values: int  # the gradients of these rows


def exclude_from_ddp(module: nn.Module, parameters: Sequence[nn.Parameter]) -> None:
    """Make a later `DistributedDataParallel` around `module` ignore `parameters`, which a `SparseGradientAllReduce` must average.

    They are ignored under every name that they have in `module`.
    """
    excluded_ids = set(map(id, parameters))
    names = [
        name for name, parameter in module.named_parameters(remove_duplicate=False) if id(parameter) in excluded_ids
    ]
    # In one place `DistributedDataParallel` writes the module's own parameters with a leading dot.
    names += [f".{name}" for name in names if "." not in name]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, names)
    for parameter in parameters:
        setattr(parameter, _MARK, False)


def is_excluded_from_ddp(parameter: Tensor) -> bool:
    """Return whether `exclude_from_ddp` was called with `parameter`."""
    return hasattr(parameter, _MARK)


def is_all_reduced_by_rows(parameter: Tensor) -> bool:
    """Return whether a `SparseGradientAllReduce` averages the gradient of `parameter`."""
    return getattr(parameter, _MARK, False)


class SparseGradientAllReduce:
    """The average over all processes of gradients that are sparse in their first dimension.

    All processes must construct it and call `average` together. The constructor copies the values of process 0 to every process,
    as `DistributedDataParallel` does for its parameters.

    Args:
        parameters: The parameters (R, ...), on one device, in the same order in every process.

    Attributes:
        last_bytes: Size of the tensors that this process all-reduced in the last step.

    Raises:
        ValueError: `parameters` is empty.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        if not parameters:
            raise ValueError("`parameters` must hold at least 1 parameter, got none")
        self.parameters = list(parameters)
        self.last_bytes = AllReducedBytes(0, 0)
        for parameter in self.parameters:
            dist.broadcast(parameter.detach(), src=0)
            setattr(parameter, _MARK, True)

    @torch.no_grad()
    def average(self) -> None:
        """Replace each gradient by its mean over all processes, a coalesced sparse tensor of the rows that any process has.

        A gradient of None counts as zeros.

        Raises:
            ValueError: A gradient is dense.
        """
        grads = [_coalesced(parameter) for parameter in self.parameters]
        sizes = [len(parameter) for parameter in self.parameters]
        has_gradient = torch.zeros(sum(sizes), dtype=torch.uint8, device=self.parameters[0].device)
        for grad, part in zip(grads, has_gradient.split(sizes), strict=True):
            if grad is not None:
                part[grad.indices()[0]] = 1
        dist.all_reduce(has_gradient, dist.ReduceOp.MAX)
        rows = [part.nonzero().squeeze(1) for part in has_gradient.split(sizes)]

        shapes = [
            (len(indices), parameter[0].numel()) for indices, parameter in zip(rows, self.parameters, strict=True)
        ]
        numbers = [num_rows * width for num_rows, width in shapes]
        sums = torch.zeros(sum(numbers), dtype=self.parameters[0].dtype, device=has_gradient.device)
        parts = [part.view(shape) for part, shape in zip(sums.split(numbers), shapes, strict=True)]
        for grad, indices, part in zip(grads, rows, parts, strict=True):
            if grad is not None:
                part[torch.searchsorted(indices, grad.indices()[0])] = grad.values().reshape(-1, part.shape[1])
        if len(sums):
            dist.all_reduce(sums)
            sums.div_(dist.get_world_size())
        for parameter, indices, part in zip(self.parameters, rows, parts, strict=True):
            parameter.grad = _sparse(indices, part, parameter)
        self.last_bytes = AllReducedBytes(has_gradient.nbytes, sums.nbytes)


def _coalesced(parameter: Tensor) -> Optional[Tensor]:
    if parameter.grad is None:
        return None
    if not parameter.grad.is_sparse:
        raise ValueError(
            f"the gradient of a parameter of shape {tuple(parameter.shape)} must be sparse to be averaged by rows, got a "
            "dense gradient"
        )
    return parameter.grad.coalesce()


def _sparse(rows: Tensor, values: Tensor, parameter: Tensor) -> Tensor:
    """Return a sparse gradient of `parameter` (R, ...) with `values` (len(rows), K) in `rows`, which ascend."""
    values = values.view(len(rows), *parameter.shape[1:])
    # The rows ascend and are in range. torch 2.11 warns unless the check is switched explicitly.
    with torch.sparse.check_sparse_tensor_invariants(False):
        return torch.sparse_coo_tensor(rows.unsqueeze(0), values, parameter.shape, is_coalesced=True)
