"""The steps of one direction, forward and backward, in one call of a compiled loop: tensors in, tensors out."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Optional

import numpy as np
import torch
from torch import Tensor

from allennlp_elmo_plus.kernels.arrays import arrays, arrays_to_fill, words
from allennlp_elmo_plus.kernels.gemm._bfloat16 import TILE_ROWS
from allennlp_elmo_plus.kernels.gemm._microkernel import NR
from allennlp_elmo_plus.kernels.gemm.linear import linear
from allennlp_elmo_plus.kernels.lstm import _numba_kernels as kernels
from allennlp_elmo_plus.kernels.lstm.torch_steps import clip_limit
from allennlp_elmo_plus.kernels.lstm.window import Gradients, Step, UpstreamGradients, Window, weight_gradients

# Rows of a step from which on the loop multiplies inputs and hidden states in one product. The product of all inputs with the
# kernel reads the kernel only once, which for few rows takes longer than the arithmetic.
MIN_ROWS_FOR_JOINT_GEMM = 8

# Values of a kernel up to which the loop computes the products with inputs and the weight gradients step by step, while their
# factors are in the cache. A larger kernel would come from memory at every step: one product over all steps reads it once.
MAX_KERNEL_IN_LOOP = 1 << 22


def forward_loop(window: Window, final_cell: Tensor) -> Tensor:
    """Return what `torch_steps.forward_steps` returns, by one compiled loop per block of steps."""
    tensors, clips = window.tensors, window.clips
    joins_inputs = window.num_rows >= MIN_ROWS_FOR_JOINT_GEMM and tensors.kernel.numel() <= MAX_KERNEL_IN_LOOP
    kernel = kernels.pack_gates(_right_factor(tensors.kernel if joins_inputs else tensors.recurrent_kernel))
    bias = kernels.pack_gates(arrays(tensors.bias)[0].reshape(1, -1)).reshape(-1)
    projection = kernels.pack(
        _empty(tensors.kernel) if tensors.projection is None else _right_factor(tensors.projection)
    )
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
    # Inside the loop, weight gradients are computed panel by panel, in float32. A panel must not reach beyond its matrix.
    sizes = tensors.inputs.shape[1], len(tensors.kernel), len(tensors.bias)
    in_float32 = tensors.kernel.dtype == torch.float32
    has_products = in_float32 and all(size % NR == 0 for size in sizes) and tensors.kernel.numel() <= MAX_KERNEL_IN_LOOP
    grad_inputs, grad_kernel, grad_projection = (
        make(tensor) if has_products and is_needed and tensor is not None else None
        for make, tensor, is_needed in zip(
            (torch.empty_like, torch.zeros_like, torch.zeros_like),
            (tensors.inputs, tensors.kernel, tensors.projection),
            products,
            strict=True,
        )
    )
    # A product after the loop needs the gates' gradients of all steps; the loop itself those of one step. Whole tiles are read.
    grad_gates = gates.new_empty(len(gates) if in_float32 and not has_products else window.num_rows, gates.shape[1])
    grad_factors = gates.new_empty(0 if in_float32 else len(gates) + TILE_ROWS, gates.shape[1]).to(tensors.kernel.dtype)
    operands = [
        # Only the kernel's gradient reads the inputs.
        *arrays((tensors.inputs if grad_kernel is not None else tensors.inputs[:, :0]).to(gates.dtype), gates, *buffers),
        kernels.pack_transposed(_empty(tensors.kernel) if grad_inputs is None else _factor(tensors.input_kernel)),
        kernels.pack_transposed(_factor(tensors.recurrent_kernel)),
        kernels.pack_transposed(_empty(tensors.kernel) if tensors.projection is None else _factor(tensors.projection)),
        *arrays_to_fill(*grads, grad_gates),
        _factor(grad_factors),
        *(
            np.empty((0, 0), np.float32) if tensor is None else arrays_to_fill(tensor)[0]
            for tensor in (grad_inputs, grad_kernel)
        ),
        *arrays_to_fill(grad_bias),
        np.empty((0, 0), np.float32) if grad_projection is None else arrays_to_fill(grad_projection)[0],
    ]
    kernels.backward_steps(_table(window.steps), *operands, *(clip_limit(clip) for clip in window.clips))
    if not has_products:
        factors = grad_gates if in_float32 else grad_factors[: len(gates)]
        grad_inputs, grad_kernel, grad_projection = weight_gradients(window, factors, grads.outputs, products)
    return grad_inputs, grads.hidden, grads.cell, grad_kernel, grad_bias if needs_bias else None, grad_projection


@lru_cache(maxsize=64)
def _table(steps: tuple[Step, ...]) -> np.ndarray:
    return np.array(steps)


def _factor(tensor: Tensor) -> np.ndarray:
    """Return a left factor of a product, or a transposed right factor (N, K), in words if it is in bfloat16."""
    return arrays(tensor)[0] if tensor.dtype == torch.float32 else words(tensor)


def _right_factor(tensor: Tensor) -> np.ndarray:
    """Return a right factor of a product (K, N), in words if it is in bfloat16."""
    if tensor.dtype == torch.float32:
        return arrays(tensor)[0]
    return kernels.pair_rows(tensor.detach().contiguous().view(torch.int16).numpy().view(np.uint16))


def _empty(like: Tensor) -> np.ndarray:
    """Return a factor without rows and columns, of the dtype of the factor `like`."""
    return _factor(like[:0, :0])
