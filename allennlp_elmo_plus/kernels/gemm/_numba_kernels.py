"""An affine layer on one thread, and the way back from it, as one compiled call each, for weights that fill panels.

inputs are (N, K), the weight is (K, D), D and K multiples of `NR`.
"""

import numpy as np

from allennlp_elmo_plus.kernels.gemm._microkernel import MR, NR
from allennlp_elmo_plus.kernels.gemm._packing import (
    gemm_packed,
    gemm_tn_accumulate,
    pack_a,
    pack_b,
    pack_b_rows,
    pack_b_transposed,
)
from allennlp_elmo_plus.kernels.jit import jit

F = np.float32

# Rows whose part of the weight's gradient is computed at once: so many of a panel stay in a near cache.
ROWS = 512


@jit
def affine(inputs: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Inputs @ weight + bias."""
    found = np.empty((len(inputs), len(bias)), F)
    gemm_packed(inputs, pack_b(weight), bias, found)
    return found


@jit
def affine_backward(
    inputs: np.ndarray, weight: np.ndarray, grad: np.ndarray, wants_inputs: bool, wants_weight: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of inputs, weight and bias; without any rows where they are not wanted."""
    num_rows, (num_inputs, size) = len(grad), weight.shape
    grad_bias = np.zeros(size, F)
    for row in range(num_rows):
        for j in range(size):
            grad_bias[j] += grad[row, j]
    grad_inputs = np.empty((num_rows if wants_inputs else 0, num_inputs), F)
    if wants_inputs:
        gemm_packed(grad, pack_b_transposed(weight), np.zeros(num_inputs, F), grad_inputs)
    grad_weight = np.zeros((num_inputs if wants_weight else 0, size), F)
    if wants_weight:
        columns = np.empty((-(-num_inputs // MR), min(ROWS, num_rows), MR), F)
        panels = np.empty((size // NR, min(ROWS, num_rows), NR), F)
        for first in range(0, num_rows, ROWS):
            rows = min(ROWS, num_rows - first)
            pack_a(inputs[first : first + rows], columns, 0)
            pack_b_rows(grad[first : first + rows], panels, 0)
            gemm_tn_accumulate(columns[:, :rows], panels[:, :rows], grad_weight)
    return grad_inputs, grad_weight, grad_bias
