"""Matrix products inside compiled loops, as fast as a processor multiplies.

A library's product cannot be called from such a loop, and arranges the same weights anew at every step. Here they are arranged
once: columns in panels as wide as a few vectors, each panel's rows one after the other in memory. A tile of rows by one panel then
stays in registers over the whole inner dimension (Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication").
"""

from collections.abc import Callable

import numpy as np

from allennlp_elmo_plus.kernels.gemm._microkernel import (
    MR,
    NR,
    SIMD_WIDTH,
    gemm_microkernel,
    gemm_tn_microkernel,
    transpose_tile,
    vector_copy,
)
from allennlp_elmo_plus.kernels.jit import jit_inline


def _spreader(width: int) -> Callable[[np.ndarray, np.ndarray, int], None]:
    copy = vector_copy(width)

    @jit_inline
    def spread(rows: np.ndarray, panels: np.ndarray, first: int) -> None:
        for p in range(rows.shape[1] // width):
            panel = panels[p, first:]
            for i in range(len(rows)):
                copy(panel[i], rows[i, p * width :])
        for j in range(rows.shape[1] - rows.shape[1] % width, rows.shape[1]):
            for i in range(len(rows)):
                panels[j // width, first + i, j % width] = rows[i, j]

    return spread


# Functions of (rows, panels, first): in panels of a right factor, or of columns for `gemm_tn_accumulate`, the rows from `first`
# on become `rows`. Columns beyond theirs are left alone.
pack_b_rows, pack_a = _spreader(NR), _spreader(MR)
_copy_width = vector_copy(NR)


@jit_inline
def pack_panel(panel: np.ndarray, right: np.ndarray, first: int, columns: int) -> None:
    """`columns` of `right` (K, N) from `first` on, and zeros up to WIDTH."""
    if columns == NR:
        for k in range(len(right)):
            _copy_width(panel[k], right[k, first:])
        return
    panel[:] = np.float32(0)
    for k in range(len(right)):
        for j in range(columns):
            panel[k, j] = right[k, first + j]


@jit_inline
def pack_panel_transposed(panel: np.ndarray, right_t: np.ndarray, first: int, columns: int) -> None:
    """`pack_panel` of right_t (N, K) turned round."""
    inner = right_t.shape[1]
    if columns < NR:
        panel[:] = np.float32(0)
    whole = (inner - inner % SIMD_WIDTH, columns - columns % SIMD_WIDTH)
    # As much of a column as a cache line holds before the next column: the nearest cache has no room for whole ones.
    for start in range(0, whole[0], SIMD_WIDTH):
        for j in range(0, whole[1], SIMD_WIDTH):
            transpose_tile(panel, right_t, start, j, first + j, start)
        for j in range(whole[1], columns):
            for k in range(start, start + SIMD_WIDTH):
                panel[k, j] = right_t[first + j, k]
    for k in range(whole[0], inner):
        for j in range(columns):
            panel[k, j] = right_t[first + j, k]


@jit_inline
def pack_b(right: np.ndarray) -> np.ndarray:
    """`right` (K, N) in panels (N / WIDTH rounded up, K, WIDTH)."""
    inner, num_columns = right.shape
    panels = np.empty((-(-num_columns // NR), inner, NR), np.float32)
    for p in range(len(panels)):
        pack_panel(panels[p], right, p * NR, min(NR, num_columns - p * NR))
    return panels


@jit_inline
def pack_b_transposed(right_t: np.ndarray) -> np.ndarray:
    """`pack_b` of right_t (N, K) turned round."""
    num_columns, inner = right_t.shape
    panels = np.empty((-(-num_columns // NR), inner, NR), np.float32)
    for p in range(len(panels)):
        pack_panel_transposed(panels[p], right_t, p * NR, min(NR, num_columns - p * NR))
    return panels


_multiply_rows, _multiply_row = gemm_microkernel(MR), gemm_microkernel(1)


@jit_inline
def gemm_packed(left: np.ndarray, panels: np.ndarray, start: np.ndarray, out: np.ndarray) -> None:
    """The first M rows of `out` become start + left (M, K) @ what `panels` holds; `start` and a row of `out` have len(panels) * WIDTH
    columns, next to each other in memory as are those of `left`. A row has the same bits whatever other rows there are.
    """
    for p in range(len(panels)):
        # Two rows do not fill the registers, but take less time than as many as do.
        if len(left) < 3:
            for i in range(len(left)):
                _multiply_row(out, left, panels, start, i, p)
        else:
            for i in range(0, len(left), MR):
                _multiply_rows(out, left, panels, start, i, p)


@jit_inline
def gemm_tn_accumulate(columns: np.ndarray, panels: np.ndarray, out: np.ndarray) -> None:
    """Adds left (M, K) @ what `panels` holds to out (M, N), which has len(panels) * WIDTH columns next to each other in memory. `left`
    is given turned round, in panels as well: `columns` (M / MR rounded up, K, MR).
    """
    for p in range(len(panels)):
        for i in range(0, len(out), MR):
            gemm_tn_microkernel(out, columns, panels, i, p)
