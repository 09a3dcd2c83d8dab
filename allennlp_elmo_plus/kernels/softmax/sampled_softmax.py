"""Sampled softmax: the training loss over a large vocabulary, with its gradient computed in the forward pass.

For a token with target t and a set of sampled words (Jean et al. 2015, in the form of TensorFlow's
`sampled_softmax_loss`, which bilm-tf trains with):

    nll = log sum_{j in sampled + {t}} exp(l_j) - l_t,      l_j = hidden . weight_j + bias_j - log Q(j)

with Q(j) the expected count of word j among the samples. A target that is also sampled (an "accidental hit") counts
once; its sampled logit then serves as the target's, so only targets that were not sampled need a product of their own.
"""

import math
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from allennlp_elmo_plus.kernels.arrays import arrays
from allennlp_elmo_plus.kernels.backend import loops_for_one_thread
from allennlp_elmo_plus.kernels.gemm.linear import addmm_tn_, linear, matmul_tn
from allennlp_elmo_plus.kernels.softmax.negatives import NegativeSample, log_expected_counts
from allennlp_elmo_plus.kernels.softmax.operands import check_shapes, target_logits

# Logits held at once. On a CPU, blocks that stay near the cache beat one matrix of all logits, which takes as long to
# get from the system as to fill; an accelerator is kept busy only by few and large products.
CPU_BLOCK_LOGITS = 1 << 21
ACCELERATOR_BLOCK_LOGITS = 1 << 26


class _Gradients(NamedTuple):
    """Gradients of the summed nll; the R distinct words are the samples, and the targets that were not sampled."""

    hidden: Tensor  # (N, D)
    rows: Tensor  # (R,) int64 vocabulary ids, rising, as coalesced sparse tensors hold them
    weight: Tensor  # (R, D)
    bias: Tensor  # (R,)


class _LogitGrads(NamedTuple):
    """Gradients of the summed nll of n tokens with respect to logits, and what they are made of."""

    nll_sum: Tensor  # ()
    unnormalized: Tensor  # (n, S), of the samples, times the token's total
    inverse_total: Tensor  # (n,)
    target: Tensor  # (n,), of the target, where it is not among the samples
    bias: Tensor  # (S,), of the samples' bias


def sampled_softmax_nll(
    hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, negatives: NegativeSample, sparse: bool = True
) -> Tensor:
    """Sum over N tokens of the sampled negative log-likelihood in nats: a scalar, float32 for half-precision `hidden`.

    hidden (N, D), targets (N,) int64 below V, weight (V, D), bias (V). Matrix products run in the type of `hidden`, all
    else in float32 or wider. Gradients of `weight` and `bias` are coalesced sparse tensors over the distinct words
    touched, or dense with `sparse=False`. For training only: the value lies far below the exact negative
    log-likelihood.

    Raises `ValueError` for tensors of other shapes or types, and for ids out of range where a compiled loop computes; elsewhere
    PyTorch has an error of its own for these.
    """
    check_shapes(hidden, targets, weight, bias)
    if torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad or bias.requires_grad):
        return _SampledSoftmax.apply(hidden, targets, weight, bias, negatives, sparse)
    return _nll_and_gradients(hidden, targets, weight, bias, negatives, wants_gradients=False)[0]


class _SampledSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, negatives: NegativeSample, sparse: bool
    ) -> Tensor:
        nll_sum, gradients = _nll_and_gradients(hidden, targets, weight, bias, negatives, wants_gradients=True)
        assert gradients is not None
        ctx.save_for_backward(*gradients)
        ctx.weight_shape, ctx.weight_dtype, ctx.bias_dtype, ctx.sparse = weight.shape, weight.dtype, bias.dtype, sparse
        return nll_sum

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_nll: Tensor) -> tuple[Optional[Tensor], ...]:
        grad_hidden, rows, grad_weight, grad_bias = ctx.saved_tensors
        needs = ctx.needs_input_grad

        def of_vocabulary(values: Tensor, size: torch.Size, dtype: torch.dtype) -> Tensor:
            values = (values * grad_nll).to(dtype)
            if ctx.sparse:
                # Ascending and in range by construction. torch 2.11 warns unless told so for the whole block of code.
                with torch.sparse.check_sparse_tensor_invariants(False):
                    return torch.sparse_coo_tensor(rows.unsqueeze(0), values, size, is_coalesced=True)
            dense = values.new_zeros(size)
            dense[rows] = values
            return dense

        return (
            grad_hidden * grad_nll.to(grad_hidden.dtype) if needs[0] else None,
            None,
            of_vocabulary(grad_weight, ctx.weight_shape, ctx.weight_dtype) if needs[2] else None,
            of_vocabulary(grad_bias, ctx.weight_shape[:1], ctx.bias_dtype) if needs[3] else None,
            None,
            None,
        )


@torch.no_grad()
def _nll_and_gradients(
    hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, negatives: NegativeSample, wants_gradients: bool
) -> tuple[Tensor, Optional[_Gradients]]:
    """The summed nll and, where wanted, its gradients."""
    loops = loops_for_one_thread(weight, "softmax._numba_kernels")
    if loops is None or not hidden.dtype == weight.dtype == bias.dtype:
        # Autocast would round float32 factors, such as those of the bias's gradient, a sum over all tokens.
        with torch.autocast(hidden.device.type, enabled=False):
            return _by_products(hidden, targets, weight, bias, negatives, wants_gradients)
    given = arrays(hidden, targets, weight, bias, negatives.ids)
    log_expected = arrays(negatives.log_expected, dtype=torch.float64)
    # Nothing would stop the loop from reading rows that do not exist.
    for name, ids in (("targets", given[1]), ("negatives.ids", given[4])):
        place = loops.first_out_of_range(ids, len(weight))
        if place < len(ids):
            raise ValueError(f"`{name}` must be from 0 to {len(weight) - 1}, got {ids[place]}")
    nll_sum, *found = loops.nll_and_gradients(*given, *log_expected, negatives.num_tries, wants_gradients)
    gradients = _Gradients(*map(torch.from_numpy, found)) if wants_gradients else None
    return hidden.new_tensor(nll_sum), gradients


def _by_products(
    hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, negatives: NegativeSample, wants_gradients: bool
) -> tuple[Tensor, Optional[_Gradients]]:
    """Over blocks of tokens, so that not all logits are held at once."""
    sum_dtype = torch.promote_types(hidden.dtype, torch.float32)
    num_tokens, num_samples = len(hidden), len(negatives.ids)
    columns = torch.searchsorted(negatives.ids, targets).clamp_(max=num_samples - 1)
    is_sampled = negatives.ids[columns] == targets
    unsampled_targets = (~is_sampled).nonzero().squeeze(1)
    missed_ids, missed_rows = targets[unsampled_targets].unique(return_inverse=True)
    missed_rows += num_samples

    rows = torch.cat([negatives.ids, missed_ids])
    log_expected = torch.cat(
        [negatives.log_expected.double(), log_expected_counts(missed_ids, negatives.num_tries, len(weight))]
    )
    offsets = bias.index_select(0, rows).to(sum_dtype) - log_expected.to(sum_dtype)
    row_weight = weight.index_select(0, rows).to(hidden.dtype)
    sample_weight, sample_offsets = row_weight[:num_samples], offsets[:num_samples]
    missed_hidden, missed_weight = hidden[unsampled_targets], row_weight[missed_rows]
    missed_logits = hidden.new_zeros(num_tokens, dtype=sum_dtype)
    missed_logits[unsampled_targets] = target_logits(missed_hidden, missed_weight, offsets[missed_rows])

    block_logits = CPU_BLOCK_LOGITS if hidden.device.type == "cpu" else ACCELERATOR_BLOCK_LOGITS
    block_size = max(1, min(num_tokens, block_logits // num_samples))
    nll_sum, grad_sample_weight = offsets.new_zeros(()), None
    if wants_gradients:
        grad_hidden, grad_sample_bias = offsets.new_empty(hidden.shape), torch.zeros_like(sample_offsets)
        grad_target = offsets.new_empty(num_tokens)

    for start in range(0, num_tokens, block_size):
        block = slice(start, min(start + block_size, num_tokens))
        block_hidden = hidden[block]
        logits = linear(block_hidden, sample_weight.t(), sample_offsets)
        errors = _logit_grads(logits, columns[block], is_sampled[block], missed_logits[block])
        nll_sum += errors.nll_sum
        if wants_gradients:
            # Errors stay undivided by the total: dividing the narrow factors of the products is far less work.
            inverse, factors = errors.inverse_total.unsqueeze(1), errors.unnormalized.to(hidden.dtype)
            torch.mul(linear(factors, sample_weight), inverse, out=grad_hidden[block])
            narrow = block_hidden * inverse.to(hidden.dtype)
            if grad_sample_weight is None:
                grad_sample_weight = matmul_tn(factors, narrow).to(sum_dtype)
            else:
                addmm_tn_(grad_sample_weight, factors, narrow)
            grad_sample_bias += errors.bias
            grad_target[block] = errors.target

    if not wants_gradients:
        return nll_sum, None
    if grad_sample_weight is None:
        grad_sample_weight = offsets.new_zeros(sample_weight.shape)
    missed_errors = grad_target[unsampled_targets]
    grad_hidden.index_add_(0, unsampled_targets, missed_errors.unsqueeze(1) * missed_weight)
    grad_weight = torch.cat([grad_sample_weight, offsets.new_zeros(len(missed_ids), hidden.shape[1])])
    grad_bias = torch.cat([grad_sample_bias, offsets.new_zeros(len(missed_ids))])
    grad_weight.index_add_(0, missed_rows, missed_errors.unsqueeze(1) * missed_hidden)
    grad_bias.index_add_(0, missed_rows, missed_errors)
    rows, order = rows.sort()
    gradients = _Gradients(grad_hidden.to(hidden.dtype), rows, grad_weight[order], grad_bias[order])
    return nll_sum, gradients


def _logit_grads(logits: Tensor, columns: Tensor, is_sampled: Tensor, missed_logits: Tensor) -> _LogitGrads:
    """Of n tokens, from logits (n, S) of the samples, which are overwritten. columns (n,): where the target is among the samples, if
    is_sampled (n,), else its logit is in missed_logits (n,).
    """
    # Below this, exponentials are denormal numbers: nothing to any sum, but a hundred times slower to multiply.
    lowest = math.log(torch.finfo(logits.dtype).tiny) + 1
    columns = columns.unsqueeze(1)
    target = torch.where(is_sampled, logits.gather(1, columns).squeeze(1), missed_logits)
    peak = torch.maximum(logits.amax(1), target)
    exponentials = logits.sub_(peak.unsqueeze(1)).clamp_(min=lowest).exp_()
    target_exponential = target.sub_(peak).exp()
    total = exponentials.sum(1).add_(target_exponential.masked_fill(is_sampled, 0))
    nll_sum, inverse_total = (total.log() - target).sum(), total.reciprocal()
    errors = exponentials.scatter_add_(1, columns, total.neg().mul_(is_sampled).unsqueeze(1))
    grad_target = target_exponential.mul_(inverse_total).sub_(1)
    return _LogitGrads(nll_sum, errors, inverse_total, grad_target, errors.t() @ inverse_total)
