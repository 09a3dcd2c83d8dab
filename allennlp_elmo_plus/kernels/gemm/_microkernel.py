"""The micro-kernels of the matrix products in compiled kernels, written in LLVM's instructions.

From a loop in Python, numba makes vector instructions only sometimes, and never keeps a tile of the result in registers.
"""

from collections.abc import Callable
from functools import wraps
from itertools import chain
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from allennlp_elmo_plus.kernels.processor import instruction_sets

# For the processor that numba compiles for; kernels kept on disk belong to that processor too. A tile of MR rows by NR columns fills
# all vector registers except those that hold the factors.
SIMD_WIDTH, MR = (16, 8) if "avx512f" in instruction_sets() else (8, 6)
NR_VECTORS = 2
NR = NR_VECTORS * SIMD_WIDTH

_INTEGER, _VECTOR = ir.IntType(64), ir.VectorType(ir.FloatType(), SIMD_WIDTH)
_ZEROS = ir.Constant(_VECTOR, [0.0] * SIMD_WIDTH)


def code_generator(generate: Callable[..., None]) -> Any:
    """Return a function for compiled kernels, whose instructions `generate` writes.

    Args:
        generate: Called with LLVM's builder and the arguments: an array as numba's struct of its address, shape and strides, a number as
            its value, an integer of 64 bits.
    """

    @intrinsic
    @wraps(generate)  # numba reads the names of the arguments.
    def define(typing_context: Any, *arguments: Any) -> Any:
        kinds = [types.intp if isinstance(kind, types.Integer) else types.unliteral(kind) for kind in arguments]

        def call(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            structs = (
                context.make_array(kind)(context, builder, value) if isinstance(kind, types.Array) else value
                for kind, value in zip(signature.args, values, strict=True)
            )
            generate(builder, *structs)
            return context.get_dummy_value()

        return types.void(*kinds), call

    return define


def vector_copy(width: int) -> Any:
    """Return a function of (target, source) for compiled kernels that copies `width` values in vector instructions.

    LLVM copies the values of a loop one by one wherever it cannot prove that target and source do not overlap.
    """

    @code_generator
    def copy(builder: Any, target: Any, source: Any) -> None:
        vector = ir.VectorType(ir.FloatType(), width).as_pointer()
        values = builder.load(builder.bitcast(source.data, vector), align=4)
        builder.store(values, builder.bitcast(target.data, vector), align=4)

    return copy


@code_generator
def transpose_tile(builder: Any, out: Any, square: Any, i: Any, j: Any, k: Any, m: Any) -> None:
    """Set `out[i + a, j + b] = square[k + b, m + a]` for a and b below SIMD_WIDTH; rows of both are contiguous."""

    def address(array: Any, row: Any, lane: int, column: Any) -> Any:
        first = _row(builder, array, builder.add(row, _INTEGER(lane)))
        return builder.bitcast(builder.gep(first, [column]), _VECTOR.as_pointer())

    rows = [builder.load(address(square, k, lane, m), align=4) for lane in range(SIMD_WIDTH)]
    # Blocks of `step` by `step` change places across the diagonal of the blocks twice as large (Eklundh 1972, "A fast computer
    # method for matrix transposing").
    for step in (1 << power for power in range(SIMD_WIDTH.bit_length() - 1)):
        for first in (lane for lane in range(SIMD_WIDTH) if not lane & step):
            upper, lower = rows[first], rows[first + step]
            stays = [lane if not lane & step else SIMD_WIDTH + lane - step for lane in range(SIMD_WIDTH)]
            comes = [lane + step if not lane & step else SIMD_WIDTH + lane for lane in range(SIMD_WIDTH)]
            rows[first] = builder.shuffle_vector(upper, lower, _mask(stays))
            rows[first + step] = builder.shuffle_vector(upper, lower, _mask(comes))
    for lane, values in enumerate(rows):
        builder.store(values, address(out, i, lane, j), align=4)


# Generates `total + factors * weights` of vectors: (builder, factors, weights, total).
MultiplyAdd = Callable[[Any, Any, Any, Any], Any]


def fused_multiply_add(builder: Any, factors: Any, weights: Any, total: Any) -> Any:
    """Return the generated `total + factors * weights` of float32 vectors."""
    fused = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    # `llvm.fma` would call the C library for each value on a processor without the instruction.
    function = cgutils.get_or_insert_function(builder.module, fused, f"llvm.fmuladd.v{SIMD_WIDTH}f32")
    return builder.call(function, [factors, weights, total])


def gemm_microkernel(num_rows: int, multiply_add: MultiplyAdd) -> Any:
    """Return the micro-kernel `out[i:i+num_rows, p*NR:(p+1)*NR] = start + left[i:i+num_rows] @ panels[p]`, for compiled kernels.

    Its arguments are (out, left, panels, bias, i, p, starts_with_bias): the start is the bias, or else the values that `out` has. Where
    fewer than `num_rows` rows remain, the last row is computed again, so no edge case is needed.
    """

    @code_generator
    def tile(builder: Any, out: Any, left: Any, panels: Any, bias: Any, i: Any, p: Any, starts_with_bias: Any) -> None:
        rows = _rows_from(builder, i, num_rows, left)
        column = builder.mul(p, _INTEGER(NR))
        addresses = [_row(builder, out, row) for row in rows]
        starts = [builder.select(starts_with_bias, bias.data, address) for address in addresses]
        sums = _sums(builder, [_load_vectors(builder, _vectors(builder, start, column)) for start in starts])
        left_rows = [_row(builder, left, row) for row in rows]
        ahead = _prefetch_slice(builder, left, panels, i, p, num_rows)
        _add_products(builder, sums, left_rows, 1, panels, p, ahead, multiply_add)
        for row, row_sums in zip(addresses, sums, strict=True):
            for address, total in zip(_vectors(builder, row, column), row_sums, strict=True):
                builder.store(builder.load(total), address, align=4)

    return tile


@code_generator
def gemm_tn_microkernel(builder: Any, out: Any, columns: Any, panels: Any, i: Any, p: Any) -> None:
    """Add `left.T[i:i+MR] @ panels[p]` to `out[i:i+MR, p*NR:(p+1)*NR]`, where `columns` holds `left` packed by `pack_a`.

    i is a multiple of MR. Where fewer rows of `out` remain, the last row is computed again, as in `gemm_microkernel`.
    """
    rows = _rows_from(builder, i, MR, out)
    column = builder.mul(p, _INTEGER(NR))
    addresses = [_vectors(builder, _row(builder, out, row), column) for row in rows]
    # Rows lie too far apart for the processor's own prefetching.
    _prefetch(builder, list(chain(*addresses)), to_write=True)
    sums = _sums(builder, [[_ZEROS] * NR_VECTORS] * MR)
    first = _row(builder, columns, builder.udiv(i, _INTEGER(MR)))
    left_rows = [builder.gep(first, [builder.sub(row, i)]) for row in rows]
    ahead = _prefetch_slice(builder, out, panels, i, p, MR)
    _add_products(builder, sums, left_rows, MR, panels, p, ahead, fused_multiply_add)
    totals = [
        [builder.fadd(builder.load(address, align=4), builder.load(total)) for address, total in zip(*row, strict=True)]
        for row in zip(addresses, sums, strict=True)
    ]
    for address, total in zip(chain(*addresses), chain(*totals), strict=True):
        builder.store(total, address, align=4)


def _rows_from(builder: Any, i: Any, num_rows: int, array: Any) -> list[Any]:
    last = builder.sub(builder.extract_value(array.shape, 0), _INTEGER(1))
    rows = [builder.add(i, _INTEGER(row)) for row in range(num_rows)]
    return [builder.select(builder.icmp_signed("<", row, last), row, last) for row in rows]


def _sums(builder: Any, starts: list[list[Any]]) -> list[list[Any]]:
    """Return variables for a tile of sums; LLVM keeps the variables in registers."""
    return [[cgutils.alloca_once_value(builder, start) for start in row] for row in starts]


def _prefetch_slice(builder: Any, rows: Any, panels: Any, i: Any, p: Any, num_rows: int) -> tuple[Any, Any]:
    """Return the address and the bytes per row of the part of the next panel that the tile at row i prefetches.

    All tiles that read panel p together prefetch the panel after it.
    """
    byte = ir.IntType(8).as_pointer()
    total_rows, inner = builder.extract_value(rows.shape, 0), builder.extract_value(panels.shape, 1)
    share = builder.sdiv(_INTEGER(4 * NR * num_rows), total_rows)
    offset = builder.mul(builder.sdiv(builder.mul(i, _INTEGER(4 * NR)), total_rows), inner)
    first = builder.bitcast(_row(builder, panels, builder.add(p, _INTEGER(1))), byte)
    return builder.gep(first, [offset]), share


def _add_products(
    builder: Any,
    sums: list[list[Any]],
    left_rows: list[Any],
    stride: int,
    panels: Any,
    p: Any,
    ahead: tuple[Any, Any],
    multiply_add: MultiplyAdd,
) -> None:
    """Add the product of rows, whose values are `stride` apart, and panel p to a tile, and prefetch memory `ahead` meanwhile.

    Where the weights do not fit the nearest caches, the next panel would otherwise have to be waited for.
    """
    panel = _row(builder, panels, p)
    first_ahead, share = ahead
    with cgutils.for_range(builder, builder.extract_value(panels.shape, 1)) as loop:
        weights = _load_vectors(builder, _vectors(builder, panel, builder.mul(loop.index, _INTEGER(NR))))
        k = builder.mul(loop.index, _INTEGER(stride))
        _prefetch(builder, [builder.gep(first_ahead, [builder.mul(loop.index, share)])], to_write=False)
        for left_row, row_sums in zip(left_rows, sums, strict=True):
            factors = _broadcast(builder, builder.load(builder.gep(left_row, [k])))
            for weight, total in zip(weights, row_sums, strict=True):
                builder.store(multiply_add(builder, factors, weight, builder.load(total)), total)


def _prefetch(builder: Any, addresses: list[Any], to_write: bool) -> None:
    number = ir.IntType(32)
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    for address in addresses:
        # The last numbers: into all caches, data and not instructions.
        builder.call(prefetch, [builder.bitcast(address, byte), number(int(to_write)), number(3), number(1)])


def _row(builder: Any, array: Any, index: Any) -> Any:
    """Return the address of a row, or of a panel, as that of float32 values; other values of 32 bits are moved like these."""
    stride = builder.extract_value(array.strides, 0)
    first = builder.bitcast(array.data, ir.FloatType().as_pointer())
    return cgutils.pointer_add(builder, first, builder.mul(index, stride))


def _vectors(builder: Any, first: Any, index: Any) -> list[Any]:
    """Return the addresses of the vectors of one row of a panel."""
    addresses = [builder.gep(first, [builder.add(index, _INTEGER(v * SIMD_WIDTH))]) for v in range(NR_VECTORS)]
    return [builder.bitcast(address, _VECTOR.as_pointer()) for address in addresses]


def _load_vectors(builder: Any, addresses: list[Any]) -> list[Any]:
    return [builder.load(address, align=4) for address in addresses]


def _broadcast(builder: Any, value: Any) -> Any:
    nothing = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.IntType(32)(0))
    return builder.shuffle_vector(first, nothing, _mask([0] * SIMD_WIDTH))


def _mask(lanes: list[int]) -> Any:
    return ir.Constant(ir.VectorType(ir.IntType(32), SIMD_WIDTH), lanes)
