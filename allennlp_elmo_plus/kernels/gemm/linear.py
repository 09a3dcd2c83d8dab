"""Matrix products of factors whose type may be narrower than that of the result, by whichever library is the faster on this processor.

PyTorch takes float32 products to MKL, whose kernels for AVX-512 run on Intel's processors alone: elsewhere the same product takes
oneDNN, which comes with PyTorch too, half as long. Both sum in float32; the last bits differ.
`torch.backends.mkldnn.enabled = False` switches oneDNN off.

Which library computes is decided by shapes alone, never by how long something took: the same run must give the same bits. The rows,
(N, k), are what a batch brings; all other sizes are those of weights.
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

from allennlp_elmo_plus.kernels.backend import choose
from allennlp_elmo_plus.kernels.gemm.float32_sums import sums_in_float32

# oneDNN compiles a kernel for each shape and keeps a thousand of them, between which the results' memory falls into pieces. So
# only few shapes are for it: more rows than this are a multiple of it.
ROW_MULTIPLE = 64


def linear(left: Tensor, right: Tensor, bias: Optional[Tensor] = None) -> Tensor:
    """`left @ right + bias`, (N, k) by (k, n) and (n,), the product computed in the type of `right` and added in that of `bias`. For
    use without gradients.
    """
    left = left.to(right.dtype)
    if bias is not None and bias.dtype != right.dtype:
        return bias + linear(left, right)
    if _uses_onednn(right, len(left), right.numel()):
        return _onednn(left, right.t(), bias)
    # Where the result is given, autocast leaves the types alone.
    out = left.new_empty(len(left), right.shape[1])
    with sums_in_float32(right.device):
        return torch.mm(left, right, out=out) if bias is None else torch.addmm(bias, left, right, out=out)


def product_dtype(weight: Tensor) -> torch.dtype:
    """The type that products with the parameter `weight` are to have: autocast's where that is enabled, else its own."""
    device_type = weight.device.type
    return torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else weight.dtype


def prepare_linear(right: Tensor, max_rows: int, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """`linear` of factors of `dtype`, at most `max_rows` rows each, with one (k, n), for loops whose every call counts."""
    if right.dtype != dtype:
        return lambda left: linear(left, right).to(dtype)
    if not _uses_onednn(right, min(max_rows, ROW_MULTIPLE), right.numel()):
        return lambda left: torch.mm(left, right)
    weight = right.t()
    return lambda left: _onednn(left, weight, None) if _is_cached_row_count(len(left)) else torch.mm(left, right)


def matmul_tn(left: Tensor, right: Tensor) -> Tensor:
    """`left.t() @ right`, (N, m) and (N, n), of factors of one type: a weight's gradient. For use without gradients."""
    if not _uses_onednn(right, len(left), left.shape[1] * right.shape[1]):
        with sums_in_float32(right.device):
            return torch.mm(left.t(), right, out=left.new_empty(left.shape[1], right.shape[1]))
    # The first factor is turned round in memory: better the smaller one.
    if left.shape[1] > right.shape[1]:
        return _onednn(right.t(), left.t(), None).t()
    return _onednn(left.t(), right.t(), None)


def addmm_(total: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """`total += left @ right` in place, computed in the type of `right`; a product in bfloat16 is rounded once."""
    if total.dtype == right.dtype and not _uses_onednn(right, len(left), right.numel()):
        return total.addmm_(left, right)
    return total.add_(linear(left, right))


def addmm_tn_(total: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """`total += left.t() @ right` in place, computed in the type of `right`."""
    if total.dtype == right.dtype and not _uses_onednn(right, len(left), total.numel()):
        return total.addmm_(left.t(), right)
    return total.add_(matmul_tn(left.to(right.dtype), right))


def affine(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`inputs @ weight + bias` with gradients, (N, k) by (k, n) and (n,). Under autocast each product is in its type and rounded
    once, all else in that of `bias`: rows of the result may be summed over, and so may their gradients.

    Under autocast, and where oneDNN computes it, the gradient of a gradient is not supported and raises a RuntimeError.
    """
    dtype = product_dtype(weight)
    if dtype == weight.dtype and not _uses_onednn(weight, len(inputs), weight.numel()):
        return torch.addmm(bias, inputs, weight)
    return _Affine.apply(inputs, weight, bias, dtype)


def affine_gradients(
    inputs: Tensor, weight: Tensor, grad: Tensor, needs_inputs: bool, needs_weight: bool, needs_bias: bool
) -> tuple[Optional[Tensor], ...]:
    """The gradients of inputs (N, k), weight (k, n) and bias (n,) in the type of `grad` (N, n), None where not needed. Products are
    in the type of `weight`, the sum over rows in that of `grad`.
    """
    factor = grad.to(weight.dtype)
    return (
        linear(factor, weight.t()).to(grad.dtype) if needs_inputs else None,
        matmul_tn(inputs.to(weight.dtype), factor).to(grad.dtype) if needs_weight else None,
        grad.sum(0) if needs_bias else None,
    )


def pad_rows_to_multiple(rows: Tensor, value: int = 0) -> Tensor:
    """`rows` (N, k), and after them, where oneDNN is to multiply them, as many of `value` as make them a multiple of
    `ROW_MULTIPLE`.
    """
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
    """`left @ weight.t() + bias`, by what PyTorch's compiler calls for a linear layer. Strides are taken as they are."""
    return torch.ops.mkldnn._linear_pointwise.default(left, weight, bias, "none", [], "")
