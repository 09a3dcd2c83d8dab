"""Products of factors in bfloat16 with results in float32, against the same rounding of the factors in float64."""

import pytest
import torch
from torch import Tensor

from allennlp_elmo_plus.kernels import backend
from allennlp_elmo_plus.kernels.gemm import linear as products
from allennlp_elmo_plus.kernels.processor import instruction_sets
from tests.helpers.bfloat16 import needs_bfloat16

pytestmark = needs_bfloat16

# Rows and columns in one tile and in several, a tile that is not full, and an inner dimension beyond one part of a panel.
SHAPES = [(1, 32, 32), (16, 64, 96), (45, 32, 64), (300, 4128, 32)]


def draw(rows: int, columns: int, seed: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def transposed(matrix: Tensor) -> Tensor:
    """Return the same matrix with contiguous columns."""
    return matrix.t().contiguous().t()


def check(ours: Tensor, expected: Tensor) -> None:
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("layout", [torch.Tensor.contiguous, transposed])
@pytest.mark.parametrize("rows, inner, columns", SHAPES)
def test_results_are_not_rounded(rows: int, inner: int, columns: int, layout) -> None:
    left, right, bias = draw(rows, inner, 0), layout(draw(inner, columns, 1).bfloat16()), draw(1, columns, 2)[0]
    expected = left.bfloat16().double() @ right.double()
    with backend.force("numba"):
        check(products.linear(left, right, bias), expected + bias)
        check(products.linear(left.bfloat16(), right, dtype=torch.float32), expected)
        check(products.addmm_(torch.ones(rows, columns), left, right), expected + 1)


@pytest.mark.parametrize("rows, inner, columns", SHAPES)
def test_products_over_rows_are_not_rounded(rows: int, inner: int, columns: int) -> None:
    left, right = draw(rows, inner, 0).bfloat16(), draw(rows, columns, 1).bfloat16()
    with backend.force("numba"):
        check(products.matmul_tn(left, right, torch.float32), left.double().t() @ right.double())


@pytest.mark.parametrize("columns, bias_dtype", [(33, torch.float32), (32, torch.float64), (32, torch.bfloat16)])
def test_what_the_kernel_cannot_compute_a_library_does(columns: int, bias_dtype: torch.dtype) -> None:
    left, right, bias = draw(300, 32, 0), draw(32, columns, 1).bfloat16(), draw(1, columns, 2)[0].to(bias_dtype)
    with backend.force("numba"):
        product = products.linear(left, right, bias)
    assert product.dtype == bias_dtype
    expected = left.bfloat16().double() @ right.double() + bias
    assert (product - expected).norm() < 0.01 * expected.norm()


@pytest.mark.skipif("amx-bf16" not in instruction_sets(), reason="the processor has no AMX")
def test_many_rows_on_one_thread_are_for_the_kernel() -> None:
    """Few rows and several threads are for a library, which rounds the product."""
    right = draw(64, 32, 1).bfloat16()
    exact = draw(backend.MIN_PACKED_ROWS, 64, 0).bfloat16().double() @ right.double()

    def error(rows: int) -> float:
        product = products.linear(draw(backend.MIN_PACKED_ROWS, 64, 0)[:rows], right, dtype=torch.float32)
        return float((product - exact[:rows]).abs().max())

    assert torch.get_num_threads() == 1 and error(backend.MIN_PACKED_ROWS) < 1e-5
    assert error(backend.MIN_PACKED_ROWS - 1) > 1e-3
    torch.set_num_threads(2)
    try:
        assert error(backend.MIN_PACKED_ROWS) > 1e-3
    finally:
        torch.set_num_threads(1)
