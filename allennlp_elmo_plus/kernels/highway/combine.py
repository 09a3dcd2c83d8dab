"""The element-wise part of a highway layer, forward and backward, without gradients of its own."""

from typing import NamedTuple

import torch
from torch import Tensor

from allennlp_elmo_plus.kernels.arrays import arrays, arrays_to_fill
from allennlp_elmo_plus.kernels.backend import run


class Combined(NamedTuple):
    """A highway layer's output, and what its backward pass reads; all (U, dim)."""

    outputs: Tensor
    gate: Tensor
    transformed: Tensor


class SumGradients(NamedTuple):
    """Gradients of a highway layer's element-wise part; all (U, dim)."""

    carry: Tensor  # with respect to the carry sums
    transform: Tensor  # with respect to the transform sums
    inputs: Tensor  # with respect to the inputs that pass beside the gate


def combine(carry_sums: Tensor, transform_sums: Tensor, inputs: Tensor) -> Combined:
    """Return the layer's output, as `reference.combine` defines it; the sums are overwritten."""

    def by_numba() -> Combined:
        from allennlp_elmo_plus.kernels.highway import _numba_kernels

        outputs = torch.empty_like(inputs, memory_format=torch.contiguous_format)
        gate, transformed, out = arrays_to_fill(carry_sums, transform_sums, outputs)
        _numba_kernels.combine(gate, transformed, *arrays(inputs), out)
        return Combined(outputs, carry_sums, transform_sums)

    def by_torch() -> Combined:
        gate, transformed = carry_sums.sigmoid_(), transform_sums.relu_()
        return Combined(gate * transformed + (1 - gate) * inputs, gate, transformed)

    return run("highway", carry_sums, {"numba": by_numba, "torch": by_torch})


def combine_backward(grad: Tensor, gate: Tensor, transformed: Tensor, inputs: Tensor) -> SumGradients:
    """Return the gradients of `combine` for the gradient of its output, with what `Combined` holds."""

    def by_numba() -> SumGradients:
        from allennlp_elmo_plus.kernels.highway import _numba_kernels

        gradients = SumGradients(*(torch.empty_like(gate) for _ in range(3)))
        _numba_kernels.combine_backward(*arrays(grad, gate, transformed, inputs), *arrays_to_fill(*gradients))
        return gradients

    def by_torch() -> SumGradients:
        carry = torch.ops.aten.sigmoid_backward((transformed - inputs).mul_(grad), gate)
        transform = torch.ops.aten.threshold_backward(grad * gate, transformed, 0)
        return SumGradients(carry, transform, torch.addcmul(grad, grad, gate, value=-1))

    return run("highway", gate, {"numba": by_numba, "torch": by_torch})
