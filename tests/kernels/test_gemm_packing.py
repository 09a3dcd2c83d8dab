"""The matrix products inside compiled kernels against PyTorch's in float64."""

import numpy
import pytest
import torch

pytest.importorskip("numba")


@pytest.mark.parametrize(
    "rows, inner, columns",
    [(1, 1, 1), (2, 5, 7), (3, 16, 32), (9, 6, 130), (32, 64, 33), (9, 4100, 40), (16, 2050, 32), (5, 3, 0), (0, 3, 4)]
    # Every way to spread rows over tiles.
    + [(rows, 2, 3) for rows in range(4, 50)],
)
def test_the_packed_product_is_bias_plus_left_times_right(rows: int, inner: int, columns: int) -> None:
    from allennlp_elmo_plus.kernels.gemm._numba_kernels import pack, pack_transposed
    from allennlp_elmo_plus.kernels.gemm._packing import NR, gemm_packed

    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(*shape, generator=generator) for shape in ((rows, inner), (inner, columns)))
    factor = pack(right.numpy())
    assert numpy.array_equal(factor, pack_transposed(right.t().contiguous().numpy()))
    padded = len(factor) * NR
    start = torch.zeros(padded)
    start[:columns] = torch.randn(columns, generator=generator)
    out = torch.full((rows + 1, padded), 7.0)
    gemm_packed(left.numpy(), factor, start.numpy(), out.numpy())
    expected = torch.full((rows + 1, padded), 7.0, dtype=torch.double)
    expected[:rows] = 0
    expected[:rows, :columns] = start[:columns].double() + left.double() @ right.double()
    # The rounding error of a sum of random values grows with their number.
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5 * max(1, inner / 64))


@pytest.mark.parametrize("inner", [50, 4100])
def test_a_row_of_a_product_has_the_same_bits_whatever_other_rows_there_are(inner: int) -> None:
    """Also where long panels are multiplied in parts: the sum of the part before is continued."""
    from allennlp_elmo_plus.kernels.gemm._numba_kernels import pack
    from allennlp_elmo_plus.kernels.gemm._packing import gemm_packed

    left, factor = torch.randn(21, inner).numpy(), pack(torch.randn(inner, 32).numpy())
    start = torch.randn(32).numpy()

    def product(rows: slice) -> numpy.ndarray:
        out = numpy.empty((len(left[rows]), 32), numpy.float32)
        gemm_packed(left[rows], factor, start, out)
        return out

    together = product(slice(None))
    for count in range(1, 16):
        assert numpy.array_equal(product(slice(5, 5 + count)), together[5 : 5 + count])


@pytest.mark.parametrize("inner, columns", [(1, 1), (32, 33), (40, 15), (70, 64), (15, 48)])
def test_a_transposed_matrix_is_packed_like_the_matrix(inner: int, columns: int) -> None:
    """Square tiles are transposed in registers; the rows and columns beside them one value at a time."""
    from allennlp_elmo_plus.kernels.gemm._numba_kernels import pack, pack_transposed

    right = torch.arange(inner * columns, dtype=torch.float).view(inner, columns)
    assert numpy.array_equal(pack(right.numpy()), pack_transposed(right.t().contiguous().numpy()))


@pytest.mark.parametrize("rows", [(1,), (5,), (3, 8, 1), (64, 33)])
@pytest.mark.parametrize("size", [1, 6, 8, 20, 48])
def test_a_weight_gradient_is_summed_over_rows_that_come_in_parts(rows: tuple[int, ...], size: int) -> None:
    from allennlp_elmo_plus.kernels.gemm._microkernel import MR, NR
    from allennlp_elmo_plus.kernels.gemm._packing import gemm_tn_accumulate, pack_a, pack_b_rows

    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(sum(rows), columns, generator=generator) for columns in (size, 3 * NR))
    columns = numpy.full((-(-size // MR), sum(rows), MR), numpy.nan, numpy.float32)
    panels = numpy.empty((3, sum(rows), NR), numpy.float32)
    for first, count in zip(numpy.cumsum((0, *rows)), rows):
        pack_a(left[first : first + count].numpy(), columns, first)
        pack_b_rows(right[first : first + count].numpy(), panels, first)
    out = torch.randn(size, 3 * NR, generator=generator)
    expected = out.double() + left.double().t() @ right.double()
    gemm_tn_accumulate(columns, panels, out.numpy())
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)
