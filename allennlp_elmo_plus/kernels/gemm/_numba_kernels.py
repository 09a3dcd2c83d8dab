"""Packing, and products of packed factors in bfloat16, as compiled kernels."""

import numpy as np

from allennlp_elmo_plus.kernels.gemm._bfloat16 import join_halves, transposed
from allennlp_elmo_plus.kernels.gemm._microkernel import SIMD_WIDTH
from allennlp_elmo_plus.kernels.gemm._packing import gemm_packed, pack_b, pack_b_transposed
from allennlp_elmo_plus.kernels.jit import jit


@jit
def pack(matrix: np.ndarray) -> np.ndarray:
    """Return `matrix` packed as the right factor of `gemm_packed`."""
    return pack_b(matrix)


@jit
def pack_transposed(matrix_t: np.ndarray) -> np.ndarray:
    """Return the transpose of `matrix_t` packed as the right factor of `gemm_packed`."""
    return pack_b_transposed(matrix_t)


@jit
def multiply(left: np.ndarray, panels: np.ndarray, bias: np.ndarray, out: np.ndarray) -> None:
    """Set the rows of `out` to `bias` + `left` (M, K), a factor in bfloat16, times the packed right factor `panels`."""
    gemm_packed(left, panels, bias, out)


@jit
def transpose_halves(halves: np.ndarray) -> np.ndarray:
    """Return the transpose of bfloat16 values (N, M) as a left factor of words (M, N / 2); N and M are multiples of 32."""
    words = np.empty((len(halves) // 2, halves.shape[1]), np.uint32)
    for k in range(len(words)):
        for j in range(0, words.shape[1], SIMD_WIDTH):
            join_halves(words[k, j:], halves[2 * k, j:], halves[2 * k + 1, j:])
    return transposed(words)
