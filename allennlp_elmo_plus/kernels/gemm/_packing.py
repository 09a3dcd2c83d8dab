"""
Matrix products inside compiled loops, as fast as a processor multiplies.

A library's product cannot be called from such a loop, and arranges the same weights anew at every step. Here they are arranged
once: columns in panels as wide as a few vectors, each panel's rows one after the other in memory. A tile of rows by one panel then
stays in registers over the whole inner dimension (Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication").
"""

from collections.abc import Callable

import numpy as np

from allennlp_elmo_plus.kernels.backend import inlined
from allennlp_elmo_plus.kernels.gemm._microkernel import (
    LANES,
    MOST_ROWS,
    WIDTH,
    add_tile_of_columns,
    copier,
    tile_of_rows,
    turn_square_round,
)


def _spreader(width: int) -> Callable[[np.ndarray, np.ndarray, int], None]:
    copy = copier(width)

    @inlined
    def spread(rows: np.ndarray, panels: np.ndarray, first: int) -> None:
        for p in range(rows.shape[1] // width):
            panel = panels[p, first:]
            for i in range(len(rows)):
                copy(panel[i], rows[i, p * width :])
        for j in range(rows.shape[1] - rows.shape[1] % width, rows.shape[1]):
            for i in range(len(rows)):
                panels[j // width, first + i, j % width] = rows[i, j]

    return spread


# Functions of (rows, panels, first): in panels of a right factor, or of columns for `add_product_of_columns`, the rows from `first`
# on become `rows`. Columns beyond theirs are left alone.
spread_to_panels, spread_to_columns = _spreader(WIDTH), _spreader(MOST_ROWS)
_copy_width = copier(WIDTH)


@inlined
def fill_panel(panel: np.ndarray, right: np.ndarray, first: int, columns: int) -> None:
    """`columns` of `right` (K, N) from `first` on, and zeros up to WIDTH."""
    if columns == WIDTH:
        for k in range(len(right)):
            _copy_width(panel[k], right[k, first:])
        return
    panel[:] = np.float32(0)
    for k in range(len(right)):
        for j in range(columns):
            panel[k, j] = right[k, first + j]


@inlined
def fill_panel_from_transposed(panel: np.ndarray, right_t: np.ndarray, first: int, columns: int) -> None:
    """`fill_panel` of right_t (N, K) turned round."""
    inner = right_t.shape[1]
    if columns < WIDTH:
        panel[:] = np.float32(0)
    whole = (inner - inner % LANES, columns - columns % LANES)
    # As much of a column as a cache line holds before the next column: the nearest cache has no room for whole ones.
    for start in range(0, whole[0], LANES):
        for j in range(0, whole[1], LANES):
            turn_square_round(panel, right_t, start, j, first + j, start)
        for j in range(whole[1], columns):
            for k in range(start, start + LANES):
                panel[k, j] = right_t[first + j, k]
    for k in range(whole[0], inner):
        for j in range(columns):
            panel[k, j] = right_t[first + j, k]


@inlined
def panels_of(right: np.ndarray) -> np.ndarray:
    """`right` (K, N) in panels (N / WIDTH rounded up, K, WIDTH)."""
    inner, num_columns = right.shape
    panels = np.empty((-(-num_columns // WIDTH), inner, WIDTH), np.float32)
    for p in range(len(panels)):
        fill_panel(panels[p], right, p * WIDTH, min(WIDTH, num_columns - p * WIDTH))
    return panels


@inlined
def panels_of_transposed(right_t: np.ndarray) -> np.ndarray:
    """`panels_of` of right_t (N, K) turned round."""
    num_columns, inner = right_t.shape
    panels = np.empty((-(-num_columns // WIDTH), inner, WIDTH), np.float32)
    for p in range(len(panels)):
        fill_panel_from_transposed(panels[p], right_t, p * WIDTH, min(WIDTH, num_columns - p * WIDTH))
    return panels


_multiply_rows, _multiply_row = tile_of_rows(MOST_ROWS), tile_of_rows(1)


@inlined
def multiply(left: np.ndarray, panels: np.ndarray, start: np.ndarray, out: np.ndarray) -> None:
    """
    The first M rows of `out` become start + left (M, K) @ what `panels` holds; `start` and a row of `out` have len(panels) * WIDTH
    columns, next to each other in memory as are those of `left`. A row has the same bits whatever other rows there are.
    """
    for p in range(len(panels)):
        # Two rows do not fill the registers, but take less time than as many as do.
        if len(left) < 3:
            for i in range(len(left)):
                _multiply_row(out, left, panels, start, i, p)
        else:
            for i in range(0, len(left), MOST_ROWS):
                _multiply_rows(out, left, panels, start, i, p)


@inlined
def add_product_of_columns(columns: np.ndarray, panels: np.ndarray, out: np.ndarray) -> None:
    """
    Adds left (M, K) @ what `panels` holds to out (M, N), which has len(panels) * WIDTH columns next to each other in memory. `left`
    is given turned round, in panels as well: `columns` (M / MOST_ROWS rounded up, K, MOST_ROWS).
    """
    for p in range(len(panels)):
        for i in range(0, len(out), MOST_ROWS):
            add_tile_of_columns(out, columns, panels, i, p)
