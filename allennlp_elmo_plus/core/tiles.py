"""
Matrix products inside compiled loops, as fast as a processor multiplies.

A library's product cannot be called from such a loop, and arranges the same weights anew at every step. Here they are arranged
once: columns in panels as wide as a few vectors, each panel's rows one after the other in memory. A tile of rows by one panel then
stays in registers over the whole inner dimension (Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication").
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from .compiled import inlined

# For the processor that numba compiles for, and tells kept loops apart by. As many registers as there are, but for those that hold
# what is being multiplied.
LANES, MOST_ROWS = (16, 8) if "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2] else (8, 6)
VECTORS = 2
WIDTH = VECTORS * LANES


@inlined
def fill_panel(panel: np.ndarray, right: np.ndarray, first: int, columns: int) -> None:
    """`columns` of `right` (K, N) from `first` on, and zeros up to WIDTH."""
    if columns < WIDTH:
        panel[:] = np.float32(0)
    for k in range(len(right)):
        row = right[k, first:]
        for j in range(columns):
            panel[k, j] = row[j]


@inlined
def fill_panel_from_transposed(panel: np.ndarray, right_t: np.ndarray, first: int, columns: int) -> None:
    """`fill_panel` of right_t (N, K) turned round."""
    inner = right_t.shape[1]
    if columns < WIDTH:
        panel[:] = np.float32(0)
    # As much of a column as a cache line holds before the next column: the nearest cache has no room for whole ones.
    whole = inner - inner % 16
    for start in range(0, whole, 16):
        for j in range(columns):
            column = right_t[first + j, start:]
            for k in range(16):
                panel[start + k, j] = column[k]
    for k in range(whole, inner):
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


def _tile(num_rows: int) -> Any:
    """
    A function of (out, left, panels, start, i, p) for compiled loops: in the columns of panel p, `num_rows` rows of `out` from i on
    become those of `start` + `left` by that panel; where there are not as many, the last one again and again. In LLVM's terms: what
    numba makes of a loop becomes vectors by luck, and never a tile in registers.
    """

    @intrinsic
    def tile(typing_context: Any, out: Any, left: Any, panels: Any, start: Any, i: Any, p: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            arrays = [
                context.make_array(kind)(context, builder, value)
                for kind, value in zip(signature.args[:4], arguments[:4], strict=True)
            ]
            _generate_tile(builder, num_rows, *arrays, *arguments[4:])
            return context.get_dummy_value()

        return types.void(out, left, panels, start, types.intp, types.intp), generate

    return tile


def _generate_tile(builder: Any, num_rows: int, out: Any, left: Any, panels: Any, start: Any, i: Any, p: Any) -> None:
    integer, vector = ir.IntType(64), ir.VectorType(ir.FloatType(), LANES)
    fused = ir.FunctionType(vector, [vector] * 3)
    # Fused where the processor can: `llvm.fma` would call the C library for each value where it cannot.
    multiply_add = cgutils.get_or_insert_function(builder.module, fused, f"llvm.fmuladd.v{LANES}f32")
    inner = builder.extract_value(panels.shape, 1)

    def row(array: Any, index: Any) -> Any:
        stride = builder.extract_value(array.strides, 0)
        return cgutils.pointer_add(builder, array.data, builder.mul(index, stride))

    def vectors(first: Any, index: Any) -> list[Any]:
        places = [builder.gep(first, [builder.add(index, integer(v * LANES))]) for v in range(VECTORS)]
        return [builder.bitcast(place, vector.as_pointer()) for place in places]

    def loaded(first: Any, index: Any) -> list[Any]:
        return [builder.load(place, align=4) for place in vectors(first, index)]

    panel = row(panels, p)
    last = builder.sub(builder.extract_value(left.shape, 0), integer(1))
    wanted = [builder.add(i, integer(r)) for r in range(num_rows)]
    rows = [builder.select(builder.icmp_signed("<", index, last), index, last) for index in wanted]
    left_rows, out_rows = [row(left, index) for index in rows], [row(out, index) for index in rows]
    column = builder.mul(p, integer(WIDTH))
    sums = [
        [cgutils.alloca_once_value(builder, value) for value in loaded(start.data, column)] for _ in range(num_rows)
    ]
    with cgutils.for_range(builder, inner) as loop:
        weights = loaded(panel, builder.mul(loop.index, integer(WIDTH)))
        for left_row, row_sums in zip(left_rows, sums, strict=True):
            factors = _in_all_lanes(builder, builder.load(builder.gep(left_row, [loop.index])))
            for weight, total in zip(weights, row_sums, strict=True):
                builder.store(builder.call(multiply_add, [factors, weight, builder.load(total)]), total)
    for out_row, row_sums in zip(out_rows, sums, strict=True):
        for place, total in zip(vectors(out_row, column), row_sums, strict=True):
            builder.store(builder.load(total), place, align=4)


def _in_all_lanes(builder: Any, value: Any) -> Any:
    index = ir.IntType(32)
    nothing = ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined)
    first = builder.insert_element(nothing, value, index(0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(index, LANES), [0] * LANES))


_multiply_rows, _multiply_row = _tile(MOST_ROWS), _tile(1)


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
