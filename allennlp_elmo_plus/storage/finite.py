"""Numbers of a file that somebody else made: weights are computed with in float32."""

import torch
from torch import Tensor

from allennlp_elmo_plus.errors import InputError


def check_finite(values: Tensor, name: str) -> None:
    """Raises InputError, with `name`, unless every number of `values` is finite, after conversion to float32 too."""
    is_finite = torch.isfinite(values.float())
    if not is_finite.all():
        raise InputError(f"{name} must hold finite numbers of float32, got {values[~is_finite][0].item()}")
