"""Dropout.

PyTorch draws a random number for each value, in order, which is a tenth of the time of a small LSTM's training step. The compiled
kernel draws two numbers per call and computes the mask from them and from each value's index; the backward pass computes the same
mask again, so no mask is stored.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from allennlp_elmo_plus.kernels.arrays import arrays, arrays_to_fill
from allennlp_elmo_plus.kernels.backend import run
from allennlp_elmo_plus.kernels.dropout import reference

_NUM_KEYS = 1 << 32


def dropout(inputs: Tensor, prob: float, training: bool) -> Tensor:
    """Return `inputs` with each value set to 0 with probability `prob`, and all others divided by `1 - prob`.

    Args:
        inputs: Values of any shape.
        prob: From 0 to 1; otherwise PyTorch raises a `ValueError`.
        training: Where False, `inputs` is returned unchanged.

    The random numbers depend on PyTorch's default generator and on the backend.
    """
    if not training or not 0 < prob < 1:
        return F.dropout(inputs, prob, training)
    implementations = {
        "numba": partial(_Dropout.apply, inputs, prob),
        "torch": partial(F.dropout, inputs, prob),
        "reference": partial(reference.dropout, inputs, prob),
    }
    return run("dropout", inputs, implementations, num_values=inputs.numel())


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, prob: float) -> Tensor:
        ctx.prob, ctx.keys = prob, torch.randint(_NUM_KEYS, (2,)).numpy().astype(np.uint32)
        return _masked(inputs, prob, ctx.keys)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _masked(grad, ctx.prob, ctx.keys), None


def _masked(values: Tensor, prob: float, keys: np.ndarray) -> Tensor:
    """Return `values` under the mask that the two `keys` determine, scaled."""
    from allennlp_elmo_plus.kernels.dropout import _numba_kernels

    values = values.contiguous()
    out = torch.empty_like(values)
    threshold = np.uint32(min(round(prob * _NUM_KEYS), _NUM_KEYS - 1))
    scale = np.float32(1 / (1 - prob))
    _numba_kernels.dropout(*arrays(values.view(-1)), *arrays_to_fill(out.view(-1)), *keys, threshold, scale)
    return out
