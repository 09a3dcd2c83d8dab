"""The steps of one direction, forward and backward, in one call of a compiled loop: tensors in, tensors out."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Optional

import numpy as np
import torch
from torch import Tensor

from allennlp_elmo_plus.kernels.arrays import arrays, arrays_to_fill, halves, words
from allennlp_elmo_plus.kernels.gemm import _numba_kernels as gemm_kernels
from allennlp_elmo_plus.kernels.gemm._bfloat16 import TILE_ROWS
from allennlp_elmo_plus.kernels.gemm._microkernel import NR
from allennlp_elmo_plus.kernels.gemm.linear import linear
from allennlp_elmo_plus.kernels.gemm.packed import multiply, multiply_tn, prepare_multiply, round_up
from allennlp_elmo_plus.kernels.lstm import _numba_kernels as kernels
from allennlp_elmo_plus.kernels.lstm.torch_steps import clip_limit
from allennlp_elmo_plus.kernels.lstm.window import (
    Gradients,
    Step,
    UpstreamGradients,
    Window,
    previous_rows,
    weight_gradients,
)

# Rows of a step from which on the loop multiplies inputs and hidden states in one product. The product of all inputs with the
# kernel reads the kernel only once, which for few rows takes longer than the arithmetic.
MIN_ROWS_FOR_JOINT_GEMM = 8

# Values of a kernel up to which the loop computes the products with inputs and the weight gradients step by step, while their
# factors are in the cache. A larger kernel would come from memory at every step: one product over all steps reads it once.
MAX_KERNEL_IN_LOOP = 1 << 22


def forward_loop(window: Window, final_cell: Tensor) -> Tensor:
    """Return what `torch_steps.forward_steps` returns, by one compiled loop over all steps or over each block of steps."""
    tensors, clips = window.tensors, window.clips
    joins_inputs = window.num_rows >= MIN_ROWS_FOR_JOINT_GEMM and tensors.kernel.numel() <= MAX_KERNEL_IN_LOOP
    kernel = kernels.pack_gates(_right_factor(tensors.kernel if joins_inputs else tensors.recurrent_kernel))
    bias = kernels.pack_gates(arrays(tensors.bias)[0].reshape(1, -1)).reshape(-1)
    projection = gemm_kernels.pack(_right_factor(_or_empty(tensors.projection, tensors.kernel)))
    limits, buffers = [clip_limit(clip) for clip in clips], arrays_to_fill(*window.buffers, final_cell)
    times_input_kernel = None if joins_inputs else _prepare_product(tensors.input_kernel)
    gates = tensors.bias.new_empty(0, len(tensors.bias))
    for inputs, block in [(tensors.inputs, window.steps)] if joins_inputs else window.blocks():
        if times_input_kernel is None:
            gates = tensors.bias.new_empty(max(step.gates + step.rows for step in block), len(tensors.bias))
        else:
            gates, inputs = times_input_kernel(inputs), inputs[:, :0]
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
            (
                partial(torch.empty_like, memory_format=torch.contiguous_format),
                *[partial(torch.zeros_like, memory_format=torch.contiguous_format)] * 2,
            ),
            (tensors.inputs, tensors.kernel, tensors.projection),
            products,
            strict=True,
        )
    )
    # A product after the loop needs the gates' gradients of all steps, in bfloat16 as a factor; the loop itself those of one step.
    grad_gates = gates.new_empty(len(gates) if in_float32 and not has_products else window.num_rows, gates.shape[1])
    grad_factors = gates.new_empty(
        0 if in_float32 else round_up(len(gates) + TILE_ROWS), gates.shape[1], dtype=tensors.kernel.dtype
    )
    grad_factors[len(gates) :] = 0
    operands = [
        # Only the kernel's gradient reads the inputs.
        *arrays(
            (tensors.inputs if grad_kernel is not None else tensors.inputs[:, :0]).to(gates.dtype), gates, *buffers
        ),
        gemm_kernels.pack_transposed(
            _factor(_or_empty(None if grad_inputs is None else tensors.input_kernel, tensors.kernel))
        ),
        gemm_kernels.pack_transposed(_factor(tensors.recurrent_kernel)),
        gemm_kernels.pack_transposed(_factor(_or_empty(tensors.projection, tensors.kernel))),
        *arrays_to_fill(*grads, grad_gates),
        _factor(grad_factors),
        *arrays_to_fill(
            _or_empty(grad_inputs, gates),
            _or_empty(grad_kernel, gates),
            grad_bias,
            _or_empty(grad_projection, gates),
        ),
    ]
    kernels.backward_steps(_table(window.steps), *operands, *(clip_limit(clip) for clip in window.clips))
    if not in_float32:
        factors = grad_factors[: round_up(len(gates))]
        grad_inputs, grad_kernel, grad_projection = _bfloat16_gradients(window, factors, grads.outputs, products)
    elif not has_products:
        grad_inputs, grad_kernel, grad_projection = weight_gradients(window, grad_gates, grads.outputs, products)
    return grad_inputs, grads.hidden, grads.cell, grad_kernel, grad_bias if needs_bias else None, grad_projection


def _bfloat16_gradients(
    window: Window, grad_gates: Tensor, grad_outputs: Tensor, needs: tuple[bool, bool, bool]
) -> Gradients:
    """Return what `weight_gradients` returns, those of kernel and projection in float32.

    `grad_gates` (N rounded up to a multiple of 32, 4C) is in bfloat16; further rows are zero.
    """
    tensors, buffers = window.tensors, window.buffers
    needs_inputs, needs_kernel, needs_projection = needs
    grad_inputs = grad_kernel = grad_projection = None
    if needs_inputs:
        grad_inputs = multiply(grad_gates, tensors.input_kernel.t())[: len(tensors.inputs)]
    if needs_kernel:
        previous = previous_rows(buffers.outputs, window.num_rows, [step.rows for step in window.steps])
        factors = torch.cat([tensors.inputs, previous.to(grad_gates.dtype)], dim=1)
        grad_kernel = multiply_tn(factors, grad_gates)
    if needs_projection:
        grad_projection = multiply_tn(buffers.unprojected, grad_outputs)
    return grad_inputs, grad_kernel, grad_projection


def _prepare_product(right: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a function of a left factor that returns its product with `right` in float32."""
    if right.dtype == torch.float32:
        return lambda left: linear(left, right)
    multiply_by_right = prepare_multiply(right)
    return lambda left: multiply_by_right(left, None)


@lru_cache(maxsize=64)
def _table(steps: tuple[Step, ...]) -> np.ndarray:
    return np.array(steps)


def _factor(tensor: Tensor) -> np.ndarray:
    """Return a left factor of a product, or a transposed right factor (M, K), in words if it is in bfloat16."""
    return arrays(tensor)[0] if tensor.dtype == torch.float32 else words(tensor)


def _right_factor(tensor: Tensor) -> np.ndarray:
    """Return a right factor of a product (K, M), as bits if it is in bfloat16."""
    return arrays(tensor)[0] if tensor.dtype == torch.float32 else halves(tensor)


def _or_empty(tensor: Optional[Tensor], like: Tensor) -> Tensor:
    """Return `tensor`, or where it is None a matrix without rows and columns."""
    return like.new_empty(0, 0) if tensor is None else tensor
