"""The element-wise part of the sampled softmax on a GPU, forward and backward: each row of logits is read once and written once."""

from typing import Any

import triton  # type: ignore[import-untyped, import-not-found]
import triton.language as tl  # type: ignore[import-untyped, import-not-found]
from torch import Tensor

# Values for each warp: 16 for each of its threads.
VALUES_PER_WARP = 512
MAX_WARPS = 16


# `tl.sum` and `tl.max` fail in Triton's interpreter where Triton was imported before the interpreter was chosen.
@triton.jit
def _add(left, right):
    return left + right


@triton.jit
def _larger(left, right):
    return tl.where(left > right, left, right)


@triton.jit
def _row_kernel(
    logits, row_stride, columns, is_sampled, unsampled_logits, nll, inverse_total, grad_target, size,
    lowest: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    logits += row * row_stride
    positions = tl.arange(0, block)
    inside = positions < size
    values = tl.load(logits + positions, mask=inside, other=-float("inf"))
    has_column = tl.load(is_sampled + row)
    is_target = (positions == tl.load(columns + row)) & has_column
    # Not read from memory again: another thread may have overwritten it.
    sampled_logit = tl.reduce(tl.where(is_target, values, 0.0), 0, _add)
    target = tl.where(has_column, sampled_logit, tl.load(unsampled_logits + row))
    peak = _larger(tl.reduce(values, 0, _larger), target)
    shifted = values - peak
    exponentials = tl.where(inside, tl.exp(tl.where(shifted < lowest, lowest, shifted)), 0.0)
    target_exponential = tl.exp(target - peak)
    total = tl.reduce(exponentials, 0, _add) + tl.where(has_column, 0.0, target_exponential)
    tl.store(nll + row, tl.log(total) - (target - peak))
    tl.store(inverse_total + row, 1 / total)
    tl.store(grad_target + row, target_exponential / total - 1)
    tl.store(logits + positions, exponentials - tl.where(is_target, total, 0.0), mask=inside)


def logit_gradients(
    logits: Tensor, columns: Tensor, is_sampled: Tensor, unsampled_logits: Tensor, lowest: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return each token's nll, the reciprocal of its total and the gradient of its target's logit, (n,) each.

    `logits` (n, S) are replaced by their gradients times the totals. Exponents are at least `lowest`. The other arguments are those of
    `logit_grads.logit_grads`.
    """
    num_tokens, num_samples = logits.shape
    nll, inverse_total, grad_target = (logits.new_empty(num_tokens) for _ in range(3))
    block: Any = triton.next_power_of_2(num_samples)
    operands = logits, logits.stride(0), columns, is_sampled, unsampled_logits, nll, inverse_total, grad_target
    num_warps = min(MAX_WARPS, max(1, block // VALUES_PER_WARP))
    _row_kernel[(num_tokens,)](*operands, num_samples, lowest=lowest, block=block, num_warps=num_warps)
    return nll, inverse_total, grad_target
