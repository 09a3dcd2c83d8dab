"""Matrix products inside compiled kernels: packing of the factors, and loops over the micro-kernels.

A library's product cannot be called from a compiled kernel, and packs the same weights again at every step. Here weights are packed
once: columns in panels NR wide, the rows of a panel contiguous. A tile of rows by one panel stays in registers over the whole inner
dimension (Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication").
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba.core import types
from numba.extending import overload

from allennlp_elmo_plus.kernels._elementwise import copy_vector
from allennlp_elmo_plus.kernels.gemm._bfloat16 import (
    TILE_ROWS,
    configure_tiles,
    dot_product_add,
    join_halves,
    release_tiles,
    round_vector,
    tile_microkernel,
)
from allennlp_elmo_plus.kernels.gemm._microkernel import (
    MR,
    NR,
    SIMD_WIDTH,
    MultiplyAdd,
    fused_multiply_add,
    gemm_microkernel,
    gemm_tn_microkernel,
    transpose_tile,
    vector_copy,
)
from allennlp_elmo_plus.kernels.jit import jit_inline
from allennlp_elmo_plus.kernels.processor import instruction_sets

# Rows of a panel that all tiles of the left factor meet before the next ones: they stay in the cache.
PANEL_ROWS = 2048

# Panels that a pair of tiles of the left factor meets before the next pair: the results then lie together in memory. 4 and 16 took the
# same time, 1 took a fifth longer for 1,024 rows and 16,384 columns.
TILED_PANELS = 4

# numba compares an implementation's annotations with those of the overload that returns it: `Any` in both.
_Gemm = Callable[[Any, Any, Any, Any], None]


def _rows_packer(width: int) -> Callable[[np.ndarray, np.ndarray, int], None]:
    copy = vector_copy(width)

    @jit_inline
    def pack_rows(rows: np.ndarray, panels: np.ndarray, first: int) -> None:
        for p in range(rows.shape[1] // width):
            panel = panels[p, first:]
            for i in range(len(rows)):
                copy(panel[i], rows[i, p * width :])
        for j in range(rows.shape[1] - rows.shape[1] % width, rows.shape[1]):
            for i in range(len(rows)):
                panels[j // width, first + i, j % width] = rows[i, j]

    return pack_rows


# Functions of (rows, panels, first) that copy `rows` (M, N) to the rows of `panels` (N / width rounded up, K, width) from `first` on:
# of the right factor, NR wide, and of the transposed left factor of `gemm_tn_accumulate`, MR wide. Columns of the last panel beyond N
# keep their values.
pack_b_rows, pack_a = _rows_packer(NR), _rows_packer(MR)
_copy_width = vector_copy(NR)


def _pack_panel(panel: np.ndarray, right: np.ndarray, first: int, columns: int) -> None:
    raise NotImplementedError


@overload(_pack_panel, inline="always")
def _pack_panel_of_type(panel: Any, right: Any, first: Any, columns: Any) -> Any:
    def of_values(panel: Any, right: Any, first: Any, columns: Any) -> Any:
        if columns == NR:
            for k in range(len(right)):
                _copy_width(panel[k], right[k, first:])
        else:
            panel[:] = 0
            for k in range(len(right)):
                for j in range(columns):
                    panel[k, j] = right[k, first + j]

    def of_halves(panel: Any, right: Any, first: Any, columns: Any) -> Any:
        if columns == NR:
            for k in range(len(panel)):
                for j in range(0, NR, SIMD_WIDTH):
                    join_halves(panel[k, j:], right[2 * k, first + j :], right[2 * k + 1, first + j :])
        else:
            panel[:] = 0
            for k in range(len(panel)):
                for j in range(columns):
                    low, high = right[2 * k, first + j], right[2 * k + 1, first + j]
                    panel[k, j] = np.uint32(low) | np.uint32(high) << np.uint32(16)

    return of_halves if right.dtype == types.uint16 else of_values


def _new_panels(right: np.ndarray, num_panels: int) -> np.ndarray:
    raise NotImplementedError


@overload(_new_panels, inline="always")
def _new_panels_of_type(right: Any, num_panels: Any) -> Any:
    def for_values(right: Any, num_panels: Any) -> Any:
        return np.empty((num_panels, len(right), NR), right.dtype)

    def for_halves(right: Any, num_panels: Any) -> Any:
        return np.empty((num_panels, len(right) // 2, NR), np.uint32)

    return for_halves if right.dtype == types.uint16 else for_values


@jit_inline
def pack_panel(panel: np.ndarray, right: np.ndarray, first: int, columns: int) -> None:
    """Fill `panel` (K, NR) with `columns` columns of `right` (K, N) from `first` on, then with zeros; see `pack_b`."""
    _pack_panel(panel, right, first, columns)


@jit_inline
def new_panels(right: np.ndarray, num_panels: int) -> np.ndarray:
    """Return `num_panels` panels to pack columns of `right` into."""
    return _new_panels(right, num_panels)


@jit_inline
def pack_panel_transposed(panel: np.ndarray, right_t: np.ndarray, first: int, columns: int) -> None:
    """Do what `pack_panel` does, with the transpose of `right_t` (N, K)."""
    inner = right_t.shape[1]
    if columns < NR:
        panel[:] = 0
    tiled_inner, tiled_columns = inner - inner % SIMD_WIDTH, columns - columns % SIMD_WIDTH
    # One cache line of each column before the next line: the nearest cache does not hold whole columns.
    for start in range(0, tiled_inner, SIMD_WIDTH):
        for j in range(0, tiled_columns, SIMD_WIDTH):
            transpose_tile(panel, right_t, start, j, first + j, start)
        for j in range(tiled_columns, columns):
            for k in range(start, start + SIMD_WIDTH):
                panel[k, j] = right_t[first + j, k]
    for k in range(tiled_inner, inner):
        for j in range(columns):
            panel[k, j] = right_t[first + j, k]


@jit_inline
def pack_b(right: np.ndarray) -> np.ndarray:
    """Return `right` (K, N) in panels (N / NR rounded up, K, NR); the bits of bfloat16 values, of uint16, as words, in pairs of rows."""
    num_columns = right.shape[1]
    panels = new_panels(right, -(-num_columns // NR))
    for p in range(len(panels)):
        pack_panel(panels[p], right, p * NR, min(NR, num_columns - p * NR))
    return panels


@jit_inline
def pack_b_transposed(right_t: np.ndarray) -> np.ndarray:
    """Return the transpose of `right_t` (N, K) in panels (N / NR rounded up, K, NR)."""
    num_columns, inner = right_t.shape
    panels = np.empty((-(-num_columns // NR), inner, NR), right_t.dtype)
    for p in range(len(panels)):
        pack_panel_transposed(panels[p], right_t, p * NR, min(NR, num_columns - p * NR))
    return panels


def _gemm_by_vectors(multiply_add: MultiplyAdd) -> _Gemm:
    multiply_row, multiply_short_tile, multiply_full_tile = (
        gemm_microkernel(rows, multiply_add) for rows in (1, MR - 1, MR)
    )

    def gemm(left: Any, panels: Any, bias: Any, out: Any) -> None:
        num_rows, inner = len(left), panels.shape[1]
        # Rows are spread over as few tiles as hold them: 32 rows are two tiles of 6 and four of 5, not six of 6.
        num_tiles = -(-num_rows // MR)
        num_in_full_tiles = MR * max(0, num_rows - num_tiles * (MR - 1))
        for p in range(len(panels)):
            for k in range(0, max(1, inner), PANEL_ROWS):
                factor, part = left[:, k : k + PANEL_ROWS], panels[:, k : k + PANEL_ROWS]
                # One row at a time takes less time than a tile of which two rows are needed.
                if num_rows < 3:
                    for i in range(num_rows):
                        multiply_row(out, factor, part, bias, i, p, k == 0)
                    continue
                for i in range(0, num_in_full_tiles, MR):
                    multiply_full_tile(out, factor, part, bias, i, p, k == 0)
                for i in range(num_in_full_tiles, num_rows, MR - 1):
                    multiply_short_tile(out, factor, part, bias, i, p, k == 0)

    return gemm


def _gemm_by_tiles() -> _Gemm:
    multiply_two_tiles, multiply_tile = tile_microkernel(2), tile_microkernel(1)

    def gemm(left: Any, panels: Any, bias: Any, out: Any) -> None:
        configure_tiles()
        for first in range(0, len(panels), TILED_PANELS):
            for i in range(0, len(left), 2 * TILE_ROWS):
                for p in range(first, min(first + TILED_PANELS, len(panels))):
                    if len(left) - i > TILE_ROWS:
                        multiply_two_tiles(out, left, panels, bias, i, p)
                    else:
                        multiply_tile(out, left, panels, bias, i, p)
        release_tiles()

    return gemm


def _gemm(left: np.ndarray, panels: np.ndarray, bias: np.ndarray, out: np.ndarray) -> None:
    raise NotImplementedError


@overload(_gemm, inline="always")
def _gemm_of_type(left: Any, panels: Any, bias: Any, out: Any) -> Any:
    if panels.dtype == types.float32:
        return _gemm_by_vectors(fused_multiply_add)
    return _gemm_by_tiles() if "amx-bf16" in instruction_sets() else _gemm_by_vectors(dot_product_add)


@jit_inline
def gemm_packed(left: np.ndarray, panels: np.ndarray, bias: np.ndarray, out: np.ndarray) -> None:
    """Set the first M rows of `out` to bias + left (M, K) @ right, where `panels` holds `right` packed by `pack_b`.

    `bias` and the rows of `out` have len(panels) * NR columns. Rows are contiguous. A row of the result has the same bits whatever
    other rows there are. Factors of uint32 are in bfloat16, see `_bfloat16.py`: then K is a multiple of 32, and `left` and `out` have
    memory for a multiple of `TILE_ROWS` rows.
    """
    _gemm(left, panels, bias, out)


def _fill_factor(factor: np.ndarray, rows: np.ndarray) -> None:
    raise NotImplementedError


@overload(_fill_factor, inline="always")
def _fill_factor_of_type(factor: Any, rows: Any) -> Any:
    def in_float32(factor: Any, rows: Any) -> Any:
        for i in range(len(rows)):
            copy_vector(factor[i], rows[i])

    def in_bfloat16(factor: Any, rows: Any) -> Any:
        for i in range(len(rows)):
            for j in range(0, factor.shape[1], SIMD_WIDTH):
                round_vector(factor[i, j:], rows[i, 2 * j :])

    return in_float32 if factor.dtype == types.float32 else in_bfloat16


def _as_factor(memory: np.ndarray, rows: np.ndarray) -> np.ndarray:
    raise NotImplementedError


@overload(_as_factor, inline="always")
def _as_factor_of_type(memory: Any, rows: Any) -> Any:
    def in_float32(memory: Any, rows: Any) -> Any:
        return rows

    def in_bfloat16(memory: Any, rows: Any) -> Any:
        _fill_factor(memory, rows)
        return memory[: len(rows)]

    return in_float32 if memory.dtype == types.float32 else in_bfloat16


@jit_inline
def fill_factor(factor: np.ndarray, rows: np.ndarray) -> None:
    """Set the first rows of `factor`, a left factor of `gemm_packed`, to `rows` (M, K) of float32, rounded if `factor` is in bfloat16."""
    _fill_factor(factor, rows)


@jit_inline
def as_factor(memory: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return `rows` (M, K) of float32 as a left factor of the dtype of `memory`: in float32 `rows`, else `memory`, filled with them."""
    return _as_factor(memory, rows)


@jit_inline
def gemm_tn_accumulate(columns: np.ndarray, panels: np.ndarray, out: np.ndarray) -> None:
    """Add left.T @ right to `out` (M, N), where `columns` holds `left` (K, M) packed by `pack_a` and `panels` holds `right` (K, N).

    N is len(panels) * NR; the rows of `out` are contiguous.
    """
    for p in range(len(panels)):
        for i in range(0, len(out), MR):
            gemm_tn_microkernel(out, columns, panels, i, p)
