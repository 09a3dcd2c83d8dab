"""Counts the allocations and matrix products of a computation."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class AllocationSpy(TorchDispatchMode):
    """
    While active, record `largest`, the number of elements of the largest new tensor of any operation, and `products`, the number of
    matrix products. Views and results of in-place operations are not new tensors.
    """

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0
        self.products = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        inputs = {tensor.untyped_storage().data_ptr() for tensor in _strided([args, kwargs])}
        sizes = [tensor.numel() for tensor in _strided(result) if tensor.untyped_storage().data_ptr() not in inputs]
        self.largest = max([self.largest, *sizes])
        self.products += func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.addmm_)
        return result


def _strided(nested: Any) -> Iterator[Tensor]:
    tensors: list[Any] = [leaf for leaf in tree_leaves(nested) if isinstance(leaf, Tensor)]
    for tensor in tensors:
        if tensor.is_sparse:
            yield from (tensor._indices(), tensor._values())
        else:
            yield tensor
