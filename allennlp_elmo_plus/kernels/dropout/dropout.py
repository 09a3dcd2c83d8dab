"""Dropout that keeps no mask: on a CPU a compiled loop makes it anew for the gradient, from two random numbers a call.

PyTorch's own draws each value's chance by itself, which takes a small LSTM's step a tenth of its time.
"""

from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from allennlp_elmo_plus.kernels.arrays import arrays, arrays_to_fill
from allennlp_elmo_plus.kernels.backend import loops_for

_NUMBERS = 1 << 32


def dropout(inputs: Tensor, prob: float, training: bool) -> Tensor:
    """In training, each value 0 with probability `prob`, else divided by 1 - `prob`; outside it, `inputs`. Draws from PyTorch's
    generator. A ValueError for a `prob` not from 0 to 1.
    """
    loops = loops_for(inputs, "dropout._numba_kernels") if training and 0 < prob < 1 else None
    if loops is None or inputs.numel() > _NUMBERS:
        return F.dropout(inputs, prob, training)
    keys = torch.randint(_NUMBERS, (2,)).numpy().astype(np.uint32)
    return _Dropout.apply(inputs, prob, keys, loops)  # type: ignore[no-any-return]


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, prob: float, keys: np.ndarray, loops: ModuleType) -> Tensor:
        ctx.given = prob, keys, loops
        return _dropped_out(inputs, prob, keys, loops)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return _dropped_out(grad, *ctx.given), None, None, None


def _dropped_out(values: Tensor, prob: float, keys: np.ndarray, loops: ModuleType) -> Tensor:
    values = values.contiguous()
    out = torch.empty_like(values)
    given, filled = arrays(values.view(-1)), arrays_to_fill(out.view(-1))
    lowest_kept = np.uint32(min(round(prob * _NUMBERS), _NUMBERS - 1))
    loops.drop_out(*given, *filled, *keys, lowest_kept, np.float32(1 / (1 - prob)))
    return out
