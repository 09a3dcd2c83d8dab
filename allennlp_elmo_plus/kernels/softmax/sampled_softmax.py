"""Sampled softmax: the training loss over a large vocabulary, with its gradients computed in the forward pass.

`reference.py` holds the definition. A target that is also sampled (an "accidental hit") counts once; its sampled logit then serves
as the target's, so only targets that were not sampled need a product of their own.

Letters for shapes: N tokens, D hidden size, V words in the vocabulary, S sampled words, R distinct words, sampled or targets.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from allennlp_elmo_plus.kernels.arrays import arrays
from allennlp_elmo_plus.kernels.backend import is_packed_bfloat16, run
from allennlp_elmo_plus.kernels.gemm.linear import addmm_tn_, linear, matmul_tn
from allennlp_elmo_plus.kernels.softmax import reference
from allennlp_elmo_plus.kernels.softmax.logit_grads import logit_grads
from allennlp_elmo_plus.kernels.softmax.negatives import NegativeSample, log_expected_counts
from allennlp_elmo_plus.kernels.softmax.operands import check_shapes, target_logits

# Logits held at once. On a CPU, blocks that fit a cache are faster than one matrix of all logits, whose memory takes as long to
# allocate as to fill; an accelerator is kept busy only by few and large products.
CPU_BLOCK_LOGITS = 1 << 21
ACCELERATOR_BLOCK_LOGITS = 1 << 26
# In place of the id of a target that is sampled; no vocabulary has this id.
SAMPLED = torch.iinfo(torch.int64).min


class _Gradients(NamedTuple):
    """Gradients of the summed nll with respect to the hidden states, and to the rows of weight and bias that were used."""

    hidden: Tensor  # (N, D)
    rows: Tensor  # (R,) int64 vocabulary ids, ascending, as in a coalesced sparse tensor
    weight: Tensor  # (R, D)
    bias: Tensor  # (R,)


# Arguments as of `sampled_softmax_nll`, and whether gradients are needed; returns the summed nll, and the gradients if needed.
_NllAndGradients = Callable[[Tensor, Tensor, Tensor, Tensor, NegativeSample, bool], tuple[Tensor, Optional[_Gradients]]]


def sampled_softmax_nll(
    hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, negatives: NegativeSample, sparse: bool = True
) -> Tensor:
    """Return the sum over N tokens of the sampled negative log-likelihood in nats, a scalar; see `reference.sampled_softmax_nll`.

    Matrix products run in the type of `hidden`, all else in float32 or wider. For training only: the value is far below the exact
    negative log-likelihood.

    Args:
        hidden: The output of the language model, (N, D).
        targets: Vocabulary ids below V, (N,) int64. An id out of range raises a `ValueError` with the backend numba, and an error
            of PyTorch with the others.
        weight: Softmax weights, (V, D).
        bias: Softmax biases, (V,).
        negatives: The sampled words.
        sparse: Whether the gradients of `weight` and `bias` are coalesced sparse tensors over the R distinct words used, or dense.
    """
    check_shapes(hidden, targets, weight, bias)
    arguments = hidden, targets, weight, bias, negatives

    def fused(nll_and_gradients: _NllAndGradients) -> Tensor:
        if torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad or bias.requires_grad):
            return _SampledSoftmax.apply(nll_and_gradients, sparse, *arguments)  # type: ignore[no-any-return]
        with torch.no_grad():
            return nll_and_gradients(*arguments, False)[0]

    implementations = {
        "numba": lambda: fused(_numba_nll_and_gradients),
        "torch": lambda: fused(_torch_nll_and_gradients),
        "reference": lambda: _reference_nll(*arguments, sparse),
    }
    sizes = {
        "has_one_dtype": int(hidden.dtype == weight.dtype == bias.dtype),
        "is_packed_bfloat16": int(
            is_packed_bfloat16(hidden.dtype, hidden.shape[1], len(negatives.ids)) and weight.dtype == bias.dtype
        ),
    }
    # Autocast would round float32 factors, such as those of the bias's gradient, a sum over all tokens.
    with torch.autocast(hidden.device.type, enabled=False):
        return run("sampled_softmax", weight, implementations, **sizes)


class _SampledSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        nll_and_gradients: _NllAndGradients,
        sparse: bool,
        hidden: Tensor,
        targets: Tensor,
        weight: Tensor,
        bias: Tensor,
        negatives: NegativeSample,
    ) -> Tensor:
        nll_sum, gradients = nll_and_gradients(hidden, targets, weight, bias, negatives, True)
        assert gradients is not None
        ctx.save_for_backward(*gradients)
        ctx.weight_shape, ctx.weight_dtype, ctx.bias_dtype, ctx.sparse = weight.shape, weight.dtype, bias.dtype, sparse
        return nll_sum

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_nll: Tensor) -> tuple[Optional[Tensor], ...]:
        grad_hidden, rows, grad_weight, grad_bias = ctx.saved_tensors
        _, _, needs_hidden, _, needs_weight, needs_bias, _ = ctx.needs_input_grad

        def gradient_of_rows(values: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
            values = (values * grad_nll).to(dtype)
            if ctx.sparse:
                # Ascending and in range by construction. torch 2.11 warns unless checks are switched on or off explicitly.
                with torch.sparse.check_sparse_tensor_invariants(False):
                    return torch.sparse_coo_tensor(rows.unsqueeze(0), values, shape, is_coalesced=True)
            dense = values.new_zeros(shape)
            dense[rows] = values
            return dense

        return (
            None,
            None,
            (grad_hidden.to(grad_nll.dtype) * grad_nll).to(grad_hidden.dtype) if needs_hidden else None,
            None,
            gradient_of_rows(grad_weight, ctx.weight_shape, ctx.weight_dtype) if needs_weight else None,
            gradient_of_rows(grad_bias, ctx.weight_shape[:1], ctx.bias_dtype) if needs_bias else None,
            None,
        )


class _SparseGradient(torch.autograd.Function):
    """The identity, with a gradient that is sparse in its first dimension."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        with torch.sparse.check_sparse_tensor_invariants(False):
            return grad.to_sparse(1)


def _reference_nll(
    hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, negatives: NegativeSample, sparse: bool
) -> Tensor:
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    if sparse:
        weight, bias = _SparseGradient.apply(weight), _SparseGradient.apply(bias)
    return reference.sampled_softmax_nll(hidden.to(dtype), targets, weight.to(dtype), bias.to(dtype), negatives)


def _numba_nll_and_gradients(
    hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, negatives: NegativeSample, needs_gradients: bool
) -> tuple[Tensor, Optional[_Gradients]]:
    from allennlp_elmo_plus.kernels.softmax import _numba_bfloat16, _numba_kernels

    values, target_ids, *weights, sampled_ids = arrays(hidden.float(), targets, weight, bias, negatives.ids)
    log_expected = arrays(negatives.log_expected, dtype=torch.float64)
    # Nothing else would stop the kernel from reading beyond the weights.
    for name, ids in (("targets", target_ids), ("negatives.ids", sampled_ids)):
        index = _numba_kernels.first_out_of_range(ids, len(weight))
        if index < len(ids):
            raise ValueError(f"`{name}` must be from 0 to {len(weight) - 1}, got {ids[index]}")
    kernels = _numba_bfloat16 if hidden.dtype == torch.bfloat16 else _numba_kernels
    nll_sum, grad_hidden, *grads = kernels.nll_and_gradients(
        values,
        *split_targets(target_ids, sampled_ids),
        *weights,
        sampled_ids,
        *log_expected,
        negatives.num_tries,
        needs_gradients,
    )
    gradients = _Gradients(torch.from_numpy(grad_hidden).to(hidden.dtype), *map(torch.from_numpy, grads))
    return weight.new_tensor(nll_sum), gradients if needs_gradients else None


def split_targets(targets: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return where the targets are among the sampled words `ids`, and the targets that are not sampled.

    Returns:
        Each target's index in `ids`, with a meaning only where the second array, whether it is sampled, is true; the distinct targets
        that are not sampled, ascending; and each target's index among these, where it is not sampled.
    """
    columns = np.minimum(np.searchsorted(ids, targets), len(ids) - 1)
    is_sampled = ids[columns] == targets
    unsampled_ids = np.unique(targets[~is_sampled])
    return columns, is_sampled, unsampled_ids, np.searchsorted(unsampled_ids, targets)


def _torch_nll_and_gradients(
    hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, negatives: NegativeSample, needs_gradients: bool
) -> tuple[Tensor, Optional[_Gradients]]:
    """Return the nll and its gradients, computed by blocks of tokens, so that not all logits are held at once."""
    sum_dtype = torch.promote_types(hidden.dtype, torch.float32)
    num_tokens, num_samples = len(hidden), len(negatives.ids)
    columns = torch.searchsorted(negatives.ids, targets).clamp_(max=num_samples - 1)
    is_sampled = negatives.ids[columns] == targets
    # The number of distinct ids is all that the host waits for. `SAMPLED` stands for each sampled target, and once more at the end, so
    # that it is always the first of them.
    marked = torch.cat([targets.masked_fill(is_sampled, SAMPLED), targets.new_full((1,), SAMPLED)])
    unsampled_ids, row_of_target = marked.unique(return_inverse=True)
    unsampled_ids, row_of_target = unsampled_ids[1:], row_of_target[:-1] + (num_samples - 1)
    row_of_target = torch.where(is_sampled, columns, row_of_target)

    rows = torch.cat([negatives.ids, unsampled_ids])
    log_expected = torch.cat(
        [negatives.log_expected.double(), log_expected_counts(unsampled_ids, negatives.num_tries, len(weight))]
    )
    offsets = bias.index_select(0, rows).to(sum_dtype) - log_expected.to(sum_dtype)
    row_weight = weight.index_select(0, rows).to(hidden.dtype)
    sample_weight, sample_offsets = row_weight[:num_samples], offsets[:num_samples]
    target_weight = row_weight[row_of_target]
    target_logit = target_logits(hidden, target_weight, offsets[row_of_target])

    block_logits = CPU_BLOCK_LOGITS if hidden.device.type == "cpu" else ACCELERATOR_BLOCK_LOGITS
    block_size = max(1, min(num_tokens, block_logits // num_samples))
    nll_sum, grad_sample_weight = offsets.new_zeros(()), None
    if needs_gradients:
        grad_hidden, grad_sample_bias = offsets.new_empty(hidden.shape), torch.zeros_like(sample_offsets)
        grad_target = offsets.new_empty(num_tokens)

    for start in range(0, num_tokens, block_size):
        block = slice(start, min(start + block_size, num_tokens))
        block_hidden = hidden[block]
        logits = linear(block_hidden, sample_weight.t(), sample_offsets)
        grads = logit_grads(logits, columns[block], is_sampled[block], target_logit[block])
        nll_sum += grads.nll_sum
        if needs_gradients:
            # Not these gradients (n, S) are divided by the total, but the products' factors (n, D), which is less work.
            inverse, factors = grads.inverse_total.unsqueeze(1), grads.unnormalized.to(hidden.dtype)
            torch.mul(linear(factors, sample_weight, dtype=sum_dtype), inverse, out=grad_hidden[block])
            scaled_hidden = block_hidden * inverse.to(hidden.dtype)
            if grad_sample_weight is None:
                grad_sample_weight = matmul_tn(factors, scaled_hidden, sum_dtype)
            else:
                addmm_tn_(grad_sample_weight, factors, scaled_hidden)
            grad_sample_bias += grads.bias
            grad_target[block] = grads.target

    if not needs_gradients:
        return nll_sum, None
    if grad_sample_weight is None:
        grad_sample_weight = offsets.new_zeros(sample_weight.shape)
    grad_target.masked_fill_(is_sampled, 0)
    grad_hidden += grad_target.unsqueeze(1) * target_weight
    grad_weight = torch.cat([grad_sample_weight, offsets.new_zeros(len(unsampled_ids), hidden.shape[1])])
    grad_bias = torch.cat([grad_sample_bias, offsets.new_zeros(len(unsampled_ids))])
    grad_weight.index_add_(0, row_of_target, grad_target.unsqueeze(1) * hidden)
    grad_bias.index_add_(0, row_of_target, grad_target)
    rows, order = rows.sort()
    gradients = _Gradients(grad_hidden.to(hidden.dtype), rows, grad_weight[order], grad_bias[order])
    return nll_sum, gradients
