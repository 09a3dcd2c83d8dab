"""The dtype of the weights of a part of a model, which `.double()` or `.bfloat16()` on a module may have changed."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from allennlp_elmo_plus.errors import InputError


def common_dtype(module: nn.Module, recurse: bool = True) -> torch.dtype:
    """Return the dtype of all parameters of `module`; without `recurse`, of the parameters outside of its submodules.

    Raises:
        InputError: The parameters have several dtypes, which no product can combine.
    """
    (first_name, first), *others = module.named_parameters(recurse=recurse)
    for name, parameter in others:
        if parameter.dtype is not first.dtype:
            raise InputError(
                f"the weights of {type(module).__name__} must have one type, got {first.dtype} for `{first_name}` and "
                f"{parameter.dtype} for `{name}`: convert the module whole"
            )
    return first.dtype


def widest_dtype(tensors: Iterable[Tensor]) -> torch.dtype:
    """Return the dtype that holds the values of all `tensors`, float32 or wider."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype
