"""
Matrix products of factors whose type may be narrower than that of the result, as under autocast: a bfloat16 product sums in float32
and is rounded once.
"""

import torch
from torch import Tensor


def add_product(total: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """`total += left @ right` in place, computed in the type of `right`."""
    if total.dtype == right.dtype:
        return total.addmm_(left, right)
    return total.add_(left.to(right.dtype) @ right)


def write_product(left: Tensor, right: Tensor, out: Tensor) -> Tensor:
    """`out = left @ right` in place, computed in the type of `right`."""
    if out.dtype == right.dtype:
        return torch.mm(left, right, out=out)
    return out.copy_(left.to(right.dtype) @ right)
