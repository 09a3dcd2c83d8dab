"""Factors in bfloat16 for the matrix products in compiled kernels; sums are in float32.

Two successive values of the inner dimension are one word of 32 bits, as the processor's instructions read them. So a factor in
bfloat16 is an array of uint32, half as long in the inner dimension, and is packed and transposed like one of float32.

Two instruction sets multiply such words: AMX of Intel's processors since 2023, on tiles of 16 x 16 sums, and AVX512_BF16 of Intel's and
AMD's, on vectors of 16 sums.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from allennlp_elmo_plus.kernels.gemm._microkernel import NR, SIMD_WIDTH, code_generator, transpose_tile
from allennlp_elmo_plus.kernels.jit import jit_inline

# Rows of a tile. The AMX micro-kernel reads and writes whole tiles: factor and result have memory for a multiple of as many rows.
TILE_ROWS = 16

_BYTE, _WORD = ir.IntType(8), ir.IntType(64)
_ADDRESS = _BYTE.as_pointer()
_FLOATS = ir.VectorType(ir.FloatType(), 16)
_WORDS = ir.VectorType(ir.IntType(32), 16)


class _BFloat16(ir.Type):
    """LLVM's type `bfloat`, which llvmlite has no class for."""

    def _to_string(self) -> str:
        return "bfloat"


_HALVES = ir.VectorType(_BFloat16(), 32)


def dot_product_add(builder: Any, factors: Any, weights: Any, total: Any) -> Any:
    """Return the generated `total + factors * weights`; each of the factors' 16 words holds two values, whose products are added."""
    dot = ir.FunctionType(_FLOATS, [_FLOATS, _HALVES, _HALVES])
    function = cgutils.get_or_insert_function(builder.module, dot, "llvm.x86.avx512bf16.dpbf16ps.512")
    return builder.call(function, [total, builder.bitcast(factors, _HALVES), builder.bitcast(weights, _HALVES)])


def _rounded(builder: Any, low: Any, high: Any) -> Any:
    """Return the values of two float32 vectors as one vector of bfloat16, those of `low` first."""
    convert = ir.FunctionType(_HALVES, [_FLOATS, _FLOATS])
    function = cgutils.get_or_insert_function(builder.module, convert, "llvm.x86.avx512bf16.cvtne2ps2bf16.512")
    return builder.call(function, [high, low])


@code_generator
def round_vector(builder: Any, target: Any, source: Any) -> None:
    """Store 32 float32 values, rounded to bfloat16, as 16 words."""
    first = builder.bitcast(source.data, _FLOATS.as_pointer())
    second = builder.gep(first, [ir.IntType(32)(1)])
    halves = _rounded(builder, builder.load(first, align=4), builder.load(second, align=4))
    builder.store(builder.bitcast(halves, _WORDS), builder.bitcast(target.data, _WORDS.as_pointer()), align=4)


@code_generator
def round_pairs(builder: Any, target: Any, low: Any, high: Any) -> None:
    """Store 16 words, each a value of `low` and the value of `high` at the same place, rounded to bfloat16."""
    rows = [builder.load(builder.bitcast(row.data, _FLOATS.as_pointer()), align=4) for row in (low, high)]
    shorts = ir.VectorType(ir.IntType(16), 32)
    halves = builder.bitcast(_rounded(builder, *rows), shorts)
    lanes = [half for pair in zip(range(16), range(16, 32)) for half in pair]
    mask = ir.Constant(ir.VectorType(ir.IntType(32), 32), lanes)
    pairs = builder.shuffle_vector(halves, ir.Constant(shorts, ir.Undefined), mask)
    builder.store(builder.bitcast(pairs, _WORDS), builder.bitcast(target.data, _WORDS.as_pointer()), align=4)


@code_generator
def join_halves(builder: Any, target: Any, low: Any, high: Any) -> None:
    """Store 16 words, each a 16-bit value of `low` and, above it, the value of `high` at the same place."""
    shorts = ir.VectorType(ir.IntType(16), 16).as_pointer()
    low, high = (builder.zext(builder.load(builder.bitcast(row.data, shorts), align=2), _WORDS) for row in (low, high))
    shift = ir.Constant(_WORDS, [16] * 16)
    pairs = builder.or_(low, builder.shl(high, shift))
    builder.store(pairs, builder.bitcast(target.data, _WORDS.as_pointer()), align=4)


@jit_inline
def pair_rows(words: np.ndarray, rows: np.ndarray) -> None:
    """Set `words` (M, N), part of a right factor in bfloat16, to `rows` (2M, N) of float32; N is a multiple of SIMD_WIDTH."""
    for k in range(len(words)):
        for j in range(0, words.shape[1], SIMD_WIDTH):
            round_pairs(words[k, j:], rows[2 * k, j:], rows[2 * k + 1, j:])


@jit_inline
def transposed(square: np.ndarray) -> np.ndarray:
    """Return the transpose of a matrix of 32-bit values, both of whose sides are multiples of SIMD_WIDTH."""
    out = np.empty((square.shape[1], square.shape[0]), square.dtype)
    for i in range(0, len(out), SIMD_WIDTH):
        for j in range(0, len(square), SIMD_WIDTH):
            transpose_tile(out, square, i, j, j, i)
    return out


@code_generator
def configure_tiles(builder: Any) -> None:
    """Set all eight tiles to 16 rows of 64 bytes, for this thread, until `release_tiles`."""
    settings = np.zeros(64, np.uint8)
    settings[0] = 1
    settings[16:32].view(np.uint16)[:] = 64
    settings[48:56] = TILE_ROWS
    constant = ir.Constant(ir.ArrayType(_BYTE, 64), [int(value) for value in settings])
    memory = cgutils.alloca_once_value(builder, constant)
    _call(builder, "llvm.x86.ldtilecfg", [builder.bitcast(memory, _ADDRESS)])


@code_generator
def release_tiles(builder: Any) -> None:
    """Give the tiles back, so that Linux need not save them when it changes threads."""
    _call(builder, "llvm.x86.tilerelease", [])


def tile_microkernel(num_tiles: int) -> Callable[..., None]:
    """Return the micro-kernel of `gemm_microkernel` for words, by AMX, for `num_tiles` * 16 rows; at most two tiles."""

    @code_generator
    def multiply(builder: Any, out: Any, left: Any, panels: Any, bias: Any, i: Any, p: Any) -> None:
        # Tiles 0 to 3 hold the sums, 4 and 5 the left factor, 6 and 7 the right one.
        sums = [(row, column, 2 * row + column) for row in range(num_tiles) for column in range(2)]
        rows = [builder.add(i, _WORD(TILE_ROWS * row)) for row in range(num_tiles)]
        columns = [builder.add(builder.mul(p, _WORD(4 * NR)), _WORD(64 * column)) for column in range(2)]
        for _, column, tile in sums:
            # A distance of 0 between the rows: each row of the tile begins as the bias.
            _load_tile(builder, tile, builder.gep(builder.bitcast(bias.data, _ADDRESS), [columns[column]]), _WORD(0))
        left_rows, panel = [_row(builder, left, row) for row in rows], _row(builder, panels, p)
        stride = builder.extract_value(left.strides, 0)
        num_blocks = builder.udiv(builder.extract_value(panels.shape, 1), _WORD(TILE_ROWS))
        with cgutils.for_range(builder, num_blocks) as loop:
            block = builder.mul(loop.index, _WORD(64))
            for row, left_row in enumerate(left_rows):
                _load_tile(builder, 4 + row, builder.gep(left_row, [block]), stride)
            for column in range(2):
                offset = builder.add(builder.mul(block, _WORD(TILE_ROWS * NR * 4 // 64)), _WORD(64 * column))
                _load_tile(builder, 6 + column, builder.gep(panel, [offset]), _WORD(4 * NR))
            for row, column, tile in sums:
                _call(builder, "llvm.x86.tdpbf16ps", [_BYTE(tile), _BYTE(4 + row), _BYTE(6 + column)])
        stride = builder.extract_value(out.strides, 0)
        for row, column, tile in sums:
            address = builder.gep(_row(builder, out, rows[row]), [columns[column]])
            _call(builder, "llvm.x86.tilestored64", [_BYTE(tile), address, stride])

    return multiply


def _load_tile(builder: Any, tile: int, address: Any, stride: Any) -> None:
    _call(builder, "llvm.x86.tileloadd64", [_BYTE(tile), address, stride])


def _call(builder: Any, name: str, arguments: list[Any]) -> None:
    signature = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
    builder.call(cgutils.get_or_insert_function(builder.module, signature, name), arguments)


def _row(builder: Any, array: Any, index: Any) -> Any:
    stride = builder.extract_value(array.strides, 0)
    return builder.gep(builder.bitcast(array.data, _ADDRESS), [builder.mul(index, stride)])
