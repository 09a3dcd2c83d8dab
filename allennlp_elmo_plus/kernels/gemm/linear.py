"""Matrix products, by the library or the kernel that is the fastest here; the factors' dtype may be narrower than the result's.

PyTorch calls MKL for float32 products. MKL's kernels for AVX-512 run on Intel's processors only; elsewhere oneDNN, which comes with
PyTorch too, takes half the time. Both sum in float32; the last bits differ. `torch.backends.mkldnn.enabled = False` switches oneDNN
off.

Letters for shapes: K is the inner dimension, M the number of columns.
"""

import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from allennlp_elmo_plus.kernels.backend import choose, is_packed_bfloat16, run
from allennlp_elmo_plus.kernels.gemm import packed
from allennlp_elmo_plus.kernels.gemm.float32_sums import sums_in_float32

# oneDNN compiles a kernel for each shape and keeps a thousand kernels, which fragment the memory. So oneDNN gets few shapes only: any
# number of rows up to this, and multiples of it.
ROW_MULTIPLE = 64


def linear(left: Tensor, right: Tensor, bias: Optional[Tensor] = None, dtype: Optional[torch.dtype] = None) -> Tensor:
    """Return `left @ right + bias`, (N, K) by (K, M) and (M,); without gradients.

    The factors are in the dtype of `right`. Where the result is in another dtype, the product may have been rounded to that of `right`.

    Args:
        left: The first factor.
        right: The second factor.
        bias: Added to each row.
        dtype: The dtype of the result; None: that of `bias`, or without a bias that of `right`.
    """
    dtype = dtype or (right if bias is None else bias).dtype
    if dtype != right.dtype:

        def round_product() -> Tensor:
            product = linear(left, right)
            return product.to(dtype) if bias is None else bias + product

        implementations = {"numba": lambda: packed.multiply(left, right, bias), "torch": round_product}
        return run("gemm.bfloat16", right, implementations, **_packed_sizes(dtype, len(left), *right.shape))
    left = left.to(right.dtype)
    if _uses_onednn(right, len(left), right.numel()):
        return _onednn(left, right.t(), bias)
    # With `out`, autocast does not convert the factors.
    out = left.new_empty(len(left), right.shape[1])
    with sums_in_float32(right.device):
        return torch.mm(left, right, out=out) if bias is None else torch.addmm(bias, left, right, out=out)


def product_dtype(weight: Tensor) -> torch.dtype:
    """Return the dtype of products with the parameter `weight`: autocast's where autocast is enabled, else the parameter's."""
    device_type = weight.device.type
    return torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else weight.dtype


def prepare_linear(right: Tensor, max_rows: int, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """Return `lambda left: linear(left, right)`, with the library chosen once for all calls.

    Args:
        right: The factor of all calls, (K, M).
        max_rows: The largest number of rows of `left`.
        dtype: The dtype of `left` and of the result.
    """
    if right.dtype != dtype:
        return lambda left: linear(left, right, dtype=dtype)
    if not _uses_onednn(right, min(max_rows, ROW_MULTIPLE), right.numel()):
        return lambda left: torch.mm(left, right)
    weight = right.t()
    return lambda left: _onednn(left, weight, None) if _is_cached_row_count(len(left)) else torch.mm(left, right)


def matmul_tn(left: Tensor, right: Tensor, dtype: Optional[torch.dtype] = None) -> Tensor:
    """Return `left.t() @ right` in `dtype`, (N, K) and (N, M) of one dtype: the gradient of a weight; without gradients.

    Where `dtype` is not that of the factors, the product may have been rounded to theirs. None: theirs.
    """
    if dtype is not None and dtype != right.dtype:
        implementations = {
            "numba": lambda: packed.multiply_tn(left, right),
            "torch": lambda: matmul_tn(left, right).to(dtype),
        }
        sizes = _packed_sizes(dtype, len(left), left.shape[1], right.shape[1])
        return run("gemm.bfloat16", right, implementations, **sizes)
    if not _uses_onednn(right, len(left), left.shape[1] * right.shape[1]):
        with sums_in_float32(right.device):
            return torch.mm(left.t(), right, out=left.new_empty(left.shape[1], right.shape[1]))
    # oneDNN transposes the first factor in memory: better the smaller one.
    if left.shape[1] > right.shape[1]:
        return _onednn(right.t(), left.t(), None).t()
    return _onednn(left.t(), right.t(), None)


def addmm_(total: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return `total` after `total += left @ right`, computed in the dtype of `right`; a product in bfloat16 is rounded once."""
    if total.dtype == right.dtype and not _uses_onednn(right, len(left), right.numel()):
        return total.addmm_(left, right)
    return total.add_(linear(left, right, dtype=total.dtype))


def addmm_tn_(total: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return `total` after `total += left.t() @ right`, computed in the dtype of `right`."""
    if total.dtype == right.dtype and not _uses_onednn(right, len(left), total.numel()):
        return total.addmm_(left.t(), right)
    return total.add_(matmul_tn(left.to(right.dtype), right, total.dtype))


def affine(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return `inputs @ weight + bias` with gradients, (N, K) by (K, M) and (M,).

    Under autocast each product is in autocast's dtype and rounded once, and everything else is in the dtype of `bias`, so that sums
    over rows stay exact. Under autocast, and where oneDNN computes, a gradient of a gradient raises a `RuntimeError`.
    """
    dtype = product_dtype(weight)
    if dtype == weight.dtype and not _uses_onednn(weight, len(inputs), weight.numel()):
        return torch.addmm(bias, inputs, weight)
    return _Affine.apply(inputs, weight, bias, dtype)


def affine_gradients(
    inputs: Tensor, weight: Tensor, grad: Tensor, needs_inputs: bool, needs_weight: bool, needs_bias: bool
) -> tuple[Optional[Tensor], ...]:
    """Return the gradients of inputs (N, K), weight (K, M) and bias (M,); None where not needed.

    The gradients have the dtype of `grad` (N, M). Products are in the dtype of `weight`.
    """
    factor = grad.to(weight.dtype)
    return (
        linear(factor, weight.t(), dtype=grad.dtype) if needs_inputs else None,
        matmul_tn(inputs.to(weight.dtype), factor, grad.dtype) if needs_weight else None,
        grad.sum(0) if needs_bias else None,
    )


def pad_rows_to_multiple(rows: Tensor, value: int = 0) -> Tensor:
    """Return `rows` (N, K), extended by rows of `value` to a multiple of `ROW_MULTIPLE` where oneDNN will multiply them."""
    if rows.device.type != "cpu" or _is_cached_row_count(len(rows)):
        return rows
    if not mkl_is_slow() and not torch.is_autocast_enabled("cpu"):
        return rows
    return F.pad(rows, (0, 0, 0, -len(rows) % ROW_MULTIPLE), value=value)


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
        weight = weight.to(dtype)
        ctx.save_for_backward(inputs, weight)
        return linear(inputs, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        inputs, weight = ctx.saved_tensors
        return (*affine_gradients(inputs, weight, grad, *ctx.needs_input_grad[:3]), None)


def _packed_sizes(dtype: torch.dtype, rows: int, inner: int, columns: int) -> dict[str, int]:
    is_packed = dtype == torch.float32 and is_packed_bfloat16(torch.bfloat16, inner, columns)
    return {"is_packed_bfloat16": int(is_packed), "rows": rows}


def _uses_onednn(right: Tensor, rows: int, size: int) -> bool:
    """Return whether oneDNN computes a product with `right` over `rows` rows, `size` multiply-adds each."""
    takes_rows = _is_cached_row_count(rows) and _has_onednn() and bool(torch.backends.mkldnn.enabled)
    # `choose` takes microseconds, and is called for each product.
    return takes_rows and (
        choose("gemm", right, onednn_takes_rows=takes_rows, mkl_is_slow=mkl_is_slow(), multiply_adds=rows * size)
        == "onednn"
    )


def _is_cached_row_count(rows: int) -> bool:
    return rows <= ROW_MULTIPLE or rows % ROW_MULTIPLE == 0


@cache
def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@cache
def mkl_is_slow() -> bool:
    """Return whether PyTorch's own float32 products, by MKL, leave AVX-512 unused: on processors of AMD."""
    return (
        torch.backends.mkl.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and "AuthenticAMD" in _processor()
    )


def _processor() -> str:
    try:
        return Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return platform.processor()


def _onednn(left: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
    """Return `left @ weight.t() + bias` by the operation that PyTorch's compiler uses for a linear layer; any strides."""
    return torch.ops.mkldnn._linear_pointwise.default(left, weight, bias, "none", [], "")
