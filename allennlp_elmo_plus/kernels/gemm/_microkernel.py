"""What the matrix products in compiled loops are made of, in LLVM's terms: what numba makes of a loop becomes vectors by luck, and
never a tile in registers.
"""

from itertools import chain
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

# For the processor that numba compiles for, and tells kept loops apart by. As many registers as there are, but for those that hold
# what is being multiplied.
SIMD_WIDTH, MR = (16, 8) if "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2] else (8, 6)
NR_VECTORS = 2
NR = NR_VECTORS * SIMD_WIDTH

_INTEGER, _VECTOR = ir.IntType(64), ir.VectorType(ir.FloatType(), SIMD_WIDTH)
_ZEROS = ir.Constant(_VECTOR, [0.0] * SIMD_WIDTH)


def _intrinsic(function: Any) -> Any:
    """Numba's own says that what it makes takes the typing context too."""
    return intrinsic(function)


def vector_copy(width: int) -> Any:
    """A function of (target, source) for compiled loops, which copies `width` values. Of a loop that copies, LLVM makes single values
    one after the other wherever it cannot prove that the two have nothing in common.
    """

    @_intrinsic
    def copy(typing_context: Any, target: Any, source: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            vector = ir.VectorType(ir.FloatType(), width).as_pointer()
            into, values = (
                builder.bitcast(_array(context, builder, signature, arguments, place).data, vector) for place in (0, 1)
            )
            builder.store(builder.load(values, align=4), into, align=4)
            return context.get_dummy_value()

        return types.void(target, source), generate

    return copy


@_intrinsic
def transpose_tile(typing_context: Any, out: Any, square: Any, i: Any, j: Any, k: Any, m: Any) -> Any:
    """out[i + a, j + b] = square[k + b, m + a] for a and b below LANES; a row's values lie next to each other in both."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, source = (_array(context, builder, signature, arguments, place) for place in (0, 1))
        i, j, k, m = arguments[2:]

        def place(array: Any, row: Any, lane: int, column: Any) -> Any:
            first = _row(builder, array, builder.add(row, _INTEGER(lane)))
            return builder.bitcast(builder.gep(first, [column]), _VECTOR.as_pointer())

        rows = [builder.load(place(source, k, lane, m), align=4) for lane in range(SIMD_WIDTH)]
        # Blocks of `step` by `step` change places across the diagonal of those twice as large (Eklundh 1972, "A fast computer
        # method for matrix transposing").
        for step in (1 << power for power in range(SIMD_WIDTH.bit_length() - 1)):
            for first in (lane for lane in range(SIMD_WIDTH) if not lane & step):
                upper, lower = rows[first], rows[first + step]
                stays = [lane if not lane & step else SIMD_WIDTH + lane - step for lane in range(SIMD_WIDTH)]
                comes = [lane + step if not lane & step else SIMD_WIDTH + lane for lane in range(SIMD_WIDTH)]
                rows[first] = builder.shuffle_vector(upper, lower, _mask(stays))
                rows[first + step] = builder.shuffle_vector(upper, lower, _mask(comes))
        for lane, values in enumerate(rows):
            builder.store(values, place(target, i, lane, j), align=4)
        return context.get_dummy_value()

    return types.void(out, square, *[types.intp] * 4), generate


def gemm_microkernel(num_rows: int) -> Any:
    """A function of (out, left, panels, start, i, p) for compiled loops: in the columns of panel p, `num_rows` rows of `out` from i on
    become those of `start` + `left` by that panel; where there are not as many, the last one again and again.
    """

    @_intrinsic
    def tile(typing_context: Any, out: Any, left: Any, panels: Any, start: Any, i: Any, p: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            target, factor, weights, first = (_array(context, builder, signature, arguments, n) for n in range(4))
            i, p = arguments[4:]
            rows = _rows_from(builder, i, num_rows, factor)
            column = builder.mul(p, _INTEGER(NR))
            sums = _sums(builder, [_load_vectors(builder, _vectors(builder, first.data, column))] * num_rows)
            left_rows = [_row(builder, factor, row) for row in rows]
            ahead = _prefetch_slice(builder, factor, weights, i, p, num_rows)
            _fused_multiply_add(builder, sums, left_rows, 1, weights, p, ahead)
            for row, row_sums in zip(rows, sums, strict=True):
                for place, total in zip(_vectors(builder, _row(builder, target, row), column), row_sums, strict=True):
                    builder.store(builder.load(total), place, align=4)
            return context.get_dummy_value()

        return types.void(out, left, panels, start, types.intp, types.intp), generate

    return tile


@_intrinsic
def gemm_tn_microkernel(typing_context: Any, out: Any, columns: Any, panels: Any, i: Any, p: Any) -> Any:
    """In the columns of panel p adds to MR rows of `out` from i on, a multiple of MR, the product of those that the i-th
    and following `columns` are of a left factor and that panel; as `gemm_microkernel` does.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, factor, weights = (_array(context, builder, signature, arguments, place) for place in range(3))
        i, p = arguments[3:]
        rows = _rows_from(builder, i, MR, target)
        column = builder.mul(p, _INTEGER(NR))
        places = [_vectors(builder, _row(builder, target, row), column) for row in rows]
        # So that sums need not wait for what they are added to: rows lie too far apart for a processor to see them come.
        _prefetch(builder, list(chain(*places)), to_write=True)
        sums = _sums(builder, [[_ZEROS] * NR_VECTORS] * MR)
        first = _row(builder, factor, builder.udiv(i, _INTEGER(MR)))
        left_rows = [builder.gep(first, [builder.sub(row, i)]) for row in rows]
        ahead = _prefetch_slice(builder, target, weights, i, p, MR)
        _fused_multiply_add(builder, sums, left_rows, MR, weights, p, ahead)
        totals = [
            [builder.fadd(builder.load(place, align=4), builder.load(total)) for place, total in zip(*row, strict=True)]
            for row in zip(places, sums, strict=True)
        ]
        for place, total in zip(chain(*places), chain(*totals), strict=True):
            builder.store(total, place, align=4)
        return context.get_dummy_value()

    return types.void(out, columns, panels, types.intp, types.intp), generate


def _rows_from(builder: Any, i: Any, num_rows: int, array: Any) -> list[Any]:
    last = builder.sub(builder.extract_value(array.shape, 0), _INTEGER(1))
    wanted = [builder.add(i, _INTEGER(row)) for row in range(num_rows)]
    return [builder.select(builder.icmp_signed("<", row, last), row, last) for row in wanted]


def _sums(builder: Any, starts: list[list[Any]]) -> list[list[Any]]:
    """A tile of variables, of which LLVM makes registers."""
    return [[cgutils.alloca_once_value(builder, start) for start in row] for row in starts]


def _prefetch_slice(builder: Any, rows: Any, panels: Any, i: Any, p: Any, num_rows: int) -> tuple[Any, Any]:
    """Where the share of the panel after p begins that falls to the tile of rows i, of those that read p; and its bytes a row."""
    byte = ir.IntType(8).as_pointer()
    share = builder.sdiv(_INTEGER(4 * NR * num_rows), builder.extract_value(rows.shape, 0))
    inner = builder.extract_value(panels.shape, 1)
    offset = builder.mul(builder.mul(builder.sdiv(i, _INTEGER(num_rows)), inner), share)
    first = builder.bitcast(_row(builder, panels, builder.add(p, _INTEGER(1))), byte)
    return builder.gep(first, [offset]), share


def _fused_multiply_add(
    builder: Any,
    sums: list[list[Any]],
    left_rows: list[Any],
    stride: int,
    panels: Any,
    p: Any,
    ahead: tuple[Any, Any],
) -> None:
    """Adds the product of the rows, whose values lie `stride` apart, and a panel to a tile. Meanwhile what lies `ahead` comes into the
    cache, so many bytes for each row of the panel: of weights too many for a near cache the next panel would be waited for.
    """
    fused = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    # Fused where the processor can: `llvm.fma` would call the C library for each value where it cannot.
    multiply_add = cgutils.get_or_insert_function(builder.module, fused, f"llvm.fmuladd.v{SIMD_WIDTH}f32")
    panel = _row(builder, panels, p)
    first_ahead, share = ahead
    with cgutils.for_range(builder, builder.extract_value(panels.shape, 1)) as loop:
        weights = _load_vectors(builder, _vectors(builder, panel, builder.mul(loop.index, _INTEGER(NR))))
        k = builder.mul(loop.index, _INTEGER(stride))
        _prefetch(builder, [builder.gep(first_ahead, [builder.mul(loop.index, share)])], to_write=False)
        for left_row, row_sums in zip(left_rows, sums, strict=True):
            factors = _broadcast(builder, builder.load(builder.gep(left_row, [k])))
            for weight, total in zip(weights, row_sums, strict=True):
                builder.store(builder.call(multiply_add, [factors, weight, builder.load(total)]), total)


def _prefetch(builder: Any, places: list[Any], to_write: bool) -> None:
    number = ir.IntType(32)
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    for place in places:
        # Into all caches.
        builder.call(prefetch, [builder.bitcast(place, byte), number(int(to_write)), number(3), number(1)])


def _array(context: Any, builder: Any, signature: Any, arguments: Any, place: int) -> Any:
    return context.make_array(signature.args[place])(context, builder, arguments[place])


def _row(builder: Any, array: Any, index: Any) -> Any:
    """Where a row, or a panel, begins."""
    stride = builder.extract_value(array.strides, 0)
    return cgutils.pointer_add(builder, array.data, builder.mul(index, stride))


def _vectors(builder: Any, first: Any, index: Any) -> list[Any]:
    """Where the vectors lie that are as wide as a panel."""
    places = [builder.gep(first, [builder.add(index, _INTEGER(v * SIMD_WIDTH))]) for v in range(NR_VECTORS)]
    return [builder.bitcast(place, _VECTOR.as_pointer()) for place in places]


def _load_vectors(builder: Any, places: list[Any]) -> list[Any]:
    return [builder.load(place, align=4) for place in places]


def _broadcast(builder: Any, value: Any) -> Any:
    nothing = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.IntType(32)(0))
    return builder.shuffle_vector(first, nothing, _mask([0] * SIMD_WIDTH))


def _mask(lanes: list[int]) -> Any:
    return ir.Constant(ir.VectorType(ir.IntType(32), SIMD_WIDTH), lanes)
