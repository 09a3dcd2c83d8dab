"""The steps of one direction, forward and backward, in one call of a compiled loop: tensors in, tensors out."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Optional

import numpy as np
import torch
from torch import Tensor

from allennlp_elmo_plus.kernels.arrays import arrays, arrays_to_fill
from allennlp_elmo_plus.kernels.gemm._microkernel import NR
from allennlp_elmo_plus.kernels.gemm.linear import linear
from allennlp_elmo_plus.kernels.lstm import _numba_kernels as kernels
from allennlp_elmo_plus.kernels.lstm.torch_steps import clip_limit
from allennlp_elmo_plus.kernels.lstm.window import Gradients, Step, UpstreamGradients, Window, weight_gradients

# Rows of a step from which on the loop multiplies inputs and hidden states in one product. The product of all inputs with the
# kernel reads the kernel only once, which for few rows takes longer than the arithmetic.
MIN_ROWS_FOR_JOINT_GEMM = 8

_NO_VALUES = np.empty((0, 0), np.float32)


def forward_loop(window: Window, final_cell: Tensor) -> Tensor:
    """Return what `torch_steps.forward_steps` returns, by one compiled loop per block of steps."""
    tensors, clips = window.tensors, window.clips
    joins_inputs = tensors.kernel.dtype == torch.float32 and window.num_rows >= MIN_ROWS_FOR_JOINT_GEMM
    kernel = kernels.pack_gates(_factor(tensors.kernel if joins_inputs else tensors.recurrent_kernel))
    bias = kernels.pack_gates(arrays(tensors.bias)[0].reshape(1, -1)).reshape(-1)
    projection = kernels.pack(_factor(tensors.projection))
    limits, buffers = [clip_limit(clip) for clip in clips], arrays_to_fill(*window.buffers, final_cell)
    gates = tensors.bias.new_empty(0, len(tensors.bias))
    for inputs, block in window.blocks():
        if joins_inputs:
            gates = tensors.bias.new_empty(len(inputs), len(tensors.bias))
        else:
            gates, inputs = linear(inputs, tensors.input_kernel).to(tensors.bias.dtype), inputs[:, :0]
        operands = _factor(inputs), kernel, bias, projection, *arrays_to_fill(gates)
        kernels.forward_steps(_table(block), *operands, *buffers, *limits)
    return gates


def backward_loop(window: Window, gates: Tensor, upstream: UpstreamGradients, needs: Sequence[bool]) -> Gradients:
    """Return what `torch_steps.backward_steps` returns, by one compiled loop over the steps."""
    tensors, buffers = window.tensors, window.buffers
    needs_inputs, _, _, needs_kernel, needs_bias, needs_projection = needs
    products = needs_inputs, needs_kernel, needs_projection and tensors.projection is not None
    grads, grad_bias = upstream.copy(), torch.zeros_like(tensors.bias)
    # Inside the loop, weight gradients are computed panel by panel. A panel must not reach beyond its matrix; and in a narrower
    # dtype a library's product is faster.
    sizes = tensors.inputs.shape[1], len(tensors.kernel), len(tensors.bias)
    has_products = tensors.kernel.dtype == torch.float32 and all(size % NR == 0 for size in sizes)
    grad_inputs, grad_kernel, grad_projection = (
        make(tensor) if has_products and is_needed and tensor is not None else None
        for make, tensor, is_needed in zip(
            (torch.empty_like, torch.zeros_like, torch.zeros_like),
            (tensors.inputs, tensors.kernel, tensors.projection),
            products,
            strict=True,
        )
    )
    # The loop needs the gates' gradients of one step at a time; a product after the loop needs all.
    grad_gates = gates.new_empty(window.num_rows if has_products else len(gates), gates.shape[1])
    operands = [
        # Only the kernel's gradient reads the inputs.
        _factor(tensors.inputs[:, :0] if grad_kernel is None else tensors.inputs),
        *arrays(gates, *buffers),
        kernels.pack_transposed(_factor(None if grad_inputs is None else tensors.input_kernel)),
        kernels.pack_transposed(_factor(tensors.recurrent_kernel)),
        kernels.pack_transposed(_factor(tensors.projection)),
    ]
    outputs = [*grads, grad_gates, grad_inputs, grad_kernel, grad_bias, grad_projection]
    filled = [_NO_VALUES if tensor is None else arrays_to_fill(tensor)[0] for tensor in outputs]
    kernels.backward_steps(_table(window.steps), *operands, *filled, *(clip_limit(clip) for clip in window.clips))
    if not has_products:
        grad_inputs, grad_kernel, grad_projection = weight_gradients(window, grad_gates, grads.outputs, products)
    return grad_inputs, grads.hidden, grads.cell, grad_kernel, grad_bias if needs_bias else None, grad_projection


@lru_cache(maxsize=64)
def _table(steps: tuple[Step, ...]) -> np.ndarray:
    return np.array(steps)


def _factor(tensor: Optional[Tensor]) -> np.ndarray:
    """Return a factor of a product in float32; without rows and columns where `tensor` is None."""
    return _NO_VALUES if tensor is None else arrays(tensor.float())[0]
