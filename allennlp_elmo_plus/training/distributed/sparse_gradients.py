"""Gradients of few rows of a large matrix, averaged over the processes of `torch.distributed`.

A sampled softmax over V words has a gradient in some thousand rows of its V. `DistributedDataParallel` would add up all V of
them in every process at every step. Here the processes first agree on the rows that any of them holds, one byte a row of V,
and then add up those rows alone. What every process gets is the same bit for bit, as each sum is formed once.
"""

from collections.abc import Sequence
from typing import NamedTuple, Optional

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

# What a parameter carries once `exclude_from_ddp` was told of it: False, and True once a `SparseGradientAllReduce` looks after it.
_MARK = "is_all_reduced_by_rows"


class AllReducedBytes(NamedTuple):
    """What a process put into the sums of one step. A ring of W processes sends 2 (W - 1) / W times as much from each."""

    rows: int  # which rows: a byte for each row of each parameter
    values: int  # their gradients


def exclude_from_ddp(module: nn.Module, parameters: Sequence[nn.Parameter]) -> None:
    """Has a `DistributedDataParallel` around `module` leave `parameters` out: their gradients are sparse, and a
    `SparseGradientAllReduce` is
    to average them. Under every name that a parameter has in `module`.
    """
    chosen = set(map(id, parameters))
    names = [name for name, each in module.named_parameters(remove_duplicate=False) if id(each) in chosen]
    # As `DistributedDataParallel` spells the module's own parameters in one place.
    names += [f".{name}" for name in names if "." not in name]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, names)
    for parameter in parameters:
        setattr(parameter, _MARK, False)


def is_excluded_from_ddp(parameter: Tensor) -> bool:
    """Whether `exclude_from_ddp` was told of `parameter`."""
    return hasattr(parameter, _MARK)


def is_all_reduced_by_rows(parameter: Tensor) -> bool:
    """Whether a `SparseGradientAllReduce` averages the gradient of `parameter`."""
    return getattr(parameter, _MARK, False)


class SparseGradientAllReduce:
    """Averages the gradients of `parameters` (R, ...), sparse in their first dimension, over all processes.

    All processes construct it and call `average` together, with the same parameters in the same order, on one device. The
    constructor gives every process the values of process 0, as `DistributedDataParallel` does for what it looks after.
    `last_bytes`: what this process put into the sums of the last step.
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
        """Puts the mean over all processes in place of each gradient, as a coalesced sparse tensor over the rows that any process
        held. A process without a gradient counts as one of zeros.

        Raises `ValueError` for a dense gradient.
        """
        grads = [_coalesced(parameter) for parameter in self.parameters]
        sizes = [len(parameter) for parameter in self.parameters]
        is_held = torch.zeros(sum(sizes), dtype=torch.uint8, device=self.parameters[0].device)
        for grad, part in zip(grads, is_held.split(sizes), strict=True):
            if grad is not None:
                part[grad.indices()[0]] = 1
        dist.all_reduce(is_held, dist.ReduceOp.MAX)
        rows = [part.nonzero().squeeze(1) for part in is_held.split(sizes)]

        shapes = [(len(held), each[0].numel()) for held, each in zip(rows, self.parameters, strict=True)]
        numbers = [num_rows * width for num_rows, width in shapes]
        sums = torch.zeros(sum(numbers), dtype=self.parameters[0].dtype, device=is_held.device)
        parts = [part.view(shape) for part, shape in zip(sums.split(numbers), shapes, strict=True)]
        for grad, held, part in zip(grads, rows, parts, strict=True):
            if grad is not None:
                part[torch.searchsorted(held, grad.indices()[0])] = grad.values().reshape(-1, part.shape[1])
        if len(sums):
            dist.all_reduce(sums)
            sums.div_(dist.get_world_size())
        for parameter, held, part in zip(self.parameters, rows, parts, strict=True):
            parameter.grad = _sparse(held, part, parameter)
        self.last_bytes = AllReducedBytes(is_held.nbytes, sums.nbytes)


def _coalesced(parameter: Tensor) -> Optional[Tensor]:
    if parameter.grad is None:
        return None
    if not parameter.grad.is_sparse:
        raise ValueError(
            f"the gradient of a parameter of shape {tuple(parameter.shape)} must be sparse to be exchanged by rows, got a "
            "dense one"
        )
    return parameter.grad.coalesce()


def _sparse(rows: Tensor, values: Tensor, parameter: Tensor) -> Tensor:
    """The gradient of `parameter` (R, ...) that holds `values` in `rows` (ascending)."""
    values = values.view(len(rows), *parameter.shape[1:])
    # Ascending and in range by construction. torch 2.11 warns unless told so for the whole block of code.
    with torch.sparse.check_sparse_tensor_invariants(False):
        return torch.sparse_coo_tensor(rows.unsqueeze(0), values, parameter.shape, is_coalesced=True)
