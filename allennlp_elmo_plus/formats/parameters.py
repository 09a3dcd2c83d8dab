"""Copy weights from a file into the parameters of a module: checked first, then all at once."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.storage.torch_weights import check_finite


class RowMapping(NamedTuple):
    """Which row of a weight goes into which row of a parameter; the other rows of the parameter stay as they are."""

    new: Tensor  # (n,) int64, rows of the parameter
    old: Tensor  # (n,) int64, rows of the weight
    num_old: int  # the rows that the weight must have


def fill_parameters(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    source: str,
    prefix: str = "",
    rows: Mapping[str, RowMapping] = {},  # noqa: B006 (never changed)
    skip: Collection[str] = (),
) -> None:
    """Copy `weights` into all parameters of `module`. When a weight is refused, no parameter has been changed.

    Args:
        module: the module; its parameters keep their type and device.
        weights: a weight for each parameter, by the parameter's name; further weights are ignored.
        source: the file that the weights come from, for error messages.
        prefix: precedes a parameter's name in `source`, for error messages.
        rows: for parameters that are copied row by row, by name.
        skip: names of parameters that stay as they are.

    Raises:
        InputError: a weight is missing, has another shape, or holds numbers that are not finite in float32. The message names
            the parameter and `source`.
    """
    parameters = {name: parameter for name, parameter in module.named_parameters() if name not in skip}
    for name, parameter in parameters.items():
        expected = tuple(parameter.shape)
        if name in rows:
            expected = (rows[name].num_old, *expected[1:])
        shape = tuple(weights[name].shape) if name in weights else None
        if shape != expected:
            raise InputError(f"{source}: `{prefix}{name}` must have shape {expected} by the options, got {shape}")
        check_finite(weights[name], f"{source}: `{prefix}{name}`")
    with torch.no_grad():
        for name, parameter in parameters.items():
            if name in rows:
                parameter[rows[name].new] = weights[name][rows[name].old].to(parameter)
            else:
                parameter.copy_(weights[name])
