"""The sampled softmax with all its gradients as one compiled kernel, which works on a block of rows while they are in the cache.

A softmax over a few thousand words takes some forty operations of PyTorch, each of which releases Python's lock and waits for it
again: two directions in parallel spend a third of their time so.
"""

import math

import numpy as np

from allennlp_elmo_plus.kernels._elementwise import copy_vector, exp
from allennlp_elmo_plus.kernels.gemm._microkernel import MR, NR
from allennlp_elmo_plus.kernels.gemm._packing import (
    gemm_packed,
    gemm_tn_accumulate,
    pack_a,
    pack_b,
    pack_b_rows,
    pack_b_transposed,
)
from allennlp_elmo_plus.kernels.jit import jit, jit_inline

F = np.float32

# Independent partial sums, of which LLVM makes vectors without reordering any of them.
NUM_SUMS = 32

# Tokens whose logits are computed together: few enough that the logits are still in the cache when gradients are computed.
TOKENS = 64


@jit_inline
def logit_grads(
    logits: np.ndarray,  # IN and OUT (n, at least S): logits of sampled words, then their gradient times the token's total
    columns: np.ndarray,  # IN (n,)
    is_sampled: np.ndarray,  # IN (n,)
    unsampled_logits: np.ndarray,  # IN (n,)
    inverse_totals: np.ndarray,  # OUT (n,)
    grad_targets: np.ndarray,  # OUT (n,)
    grad_bias: np.ndarray,  # IN and OUT (S,)
) -> float:
    """Return the summed nll of n tokens and compute its gradients; see `kernels.softmax.logit_grads.logit_grads`."""
    # Not `logits[:, :S]`: numba does not know that the rows of a slice of columns are contiguous, and would compute value by value.
    num_columns = len(grad_bias)
    whole = num_columns - num_columns % NUM_SUMS
    peaks, sums = np.empty(NUM_SUMS, F), np.empty(NUM_SUMS, F)
    nll_sum = 0.0
    for row in range(len(logits)):
        values, column = logits[row], columns[row]
        target = values[column] if is_sampled[row] else unsampled_logits[row]
        peaks[:] = target
        for first in range(0, whole, NUM_SUMS):
            block = values[first:]
            for k in range(NUM_SUMS):
                peaks[k] = block[k] if block[k] > peaks[k] else peaks[k]
        peak = peaks.max()
        for j in range(whole, num_columns):
            peak = max(peak, values[j])
        sums[:] = F(0)
        for first in range(0, whole, NUM_SUMS):
            block = values[first:]
            for k in range(NUM_SUMS):
                block[k] = exp(block[k] - peak)
                sums[k] += block[k]
        total = sums.sum()
        for j in range(whole, num_columns):
            values[j] = exp(values[j] - peak)
            total += values[j]
        target_exponential = exp(target - peak)
        if not is_sampled[row]:
            total += target_exponential
        inverse = F(1) / total
        nll_sum += np.log(total) - (target - peak)
        inverse_totals[row] = inverse
        grad_targets[row] = target_exponential * inverse - F(1)
        if is_sampled[row]:
            values[column] -= total
        for j in range(num_columns):
            grad_bias[j] += inverse * values[j]
    return nll_sum


@jit
def first_out_of_range(ids: np.ndarray, size: int) -> int:
    """Return the index of the first of `ids` that is below 0 or not below `size`, or the number of ids."""
    for i in range(len(ids)):
        if ids[i] < 0 or ids[i] >= size:
            return i
    return len(ids)


@jit_inline
def rows_of(weight: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return `weight[ids]`."""
    rows = np.empty((len(ids), weight.shape[1]), F)
    for s in range(len(ids)):
        copy_vector(rows[s], weight[ids[s]])
    return rows


@jit_inline
def sample_offsets(bias: np.ndarray, ids: np.ndarray, log_expected: np.ndarray, width: int) -> np.ndarray:
    """Return what is added to each sampled word's product, then zeros, (width,)."""
    offsets = np.zeros(width, F)
    for s in range(len(ids)):
        offsets[s] = bias[ids[s]] - F(log_expected[s])
    return offsets


@jit_inline
def unsampled_offsets_of(bias: np.ndarray, unsampled_ids: np.ndarray, num_tries: int) -> np.ndarray:
    """Return what is added to the product of each target that is not sampled."""
    offsets = np.empty(len(unsampled_ids), F)
    for m in range(len(unsampled_ids)):
        probability = math.log1p(1.0 / (unsampled_ids[m] + 1.0)) / math.log(len(bias) + 1.0)
        offsets[m] = bias[unsampled_ids[m]] - F(math.log(-math.expm1(num_tries * math.log1p(-probability))))
    return offsets


@jit_inline
def dot(left: np.ndarray, right: np.ndarray) -> F:
    """Return the scalar product of two vectors."""
    total = F(0)
    for j in range(len(left)):
        total += left[j] * right[j]
    return total


@jit_inline
def merge_words(
    needs_gradients: bool,
    ids: np.ndarray,
    grad_weight: np.ndarray,
    grad_bias: np.ndarray,
    unsampled_ids: np.ndarray,
    grad_unsampled: np.ndarray,
    grad_unsampled_bias: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ids, weight gradients and bias gradients of sampled words and of targets that are not sampled, in order of their ids."""
    num_rows = len(ids) + len(unsampled_ids) if needs_gradients else 0
    row_ids, grad_rows = np.empty(num_rows, np.int64), np.empty((num_rows, grad_unsampled.shape[1]), F)
    grad_row_bias = np.empty(num_rows, F)
    s = m = 0
    for r in range(num_rows):
        if m == len(unsampled_ids) or (s < len(ids) and ids[s] < unsampled_ids[m]):
            row_ids[r], grad_row_bias[r] = ids[s], grad_bias[s]
            copy_vector(grad_rows[r], grad_weight[s])
            s += 1
        else:
            row_ids[r], grad_row_bias[r] = unsampled_ids[m], grad_unsampled_bias[m]
            copy_vector(grad_rows[r], grad_unsampled[m])
            m += 1
    return row_ids, grad_rows, grad_row_bias


@jit
def nll_and_gradients(
    hidden: np.ndarray,  # IN (N, D)
    columns: np.ndarray,  # IN (N,), see `kernels.softmax.sampled_softmax.split_targets`, as are the next three
    is_sampled: np.ndarray,  # IN (N,)
    unsampled_ids: np.ndarray,  # IN
    unsampled_index: np.ndarray,  # IN (N,)
    weight: np.ndarray,  # IN (V, D)
    bias: np.ndarray,  # IN (V,)
    ids: np.ndarray,  # IN (S,), ascending
    log_expected: np.ndarray,  # IN (S,)
    num_tries: int,
    needs_gradients: bool,
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the summed nll, and its gradients: of hidden (N, D), and of the R distinct words used.

    The words' gradients are their ids (R,), ascending, and the gradients of their weights (R, D) and biases (R,). Without
    `needs_gradients` only the nll has a meaning.
    """
    num_tokens, size = hidden.shape
    num_samples = len(ids)
    sample_weight = rows_of(weight, ids)
    weight_t = pack_b_transposed(sample_weight)
    offsets = sample_offsets(bias, ids, log_expected, len(weight_t) * NR)
    unsampled_offsets = unsampled_offsets_of(bias, unsampled_ids, num_tries)

    # Rows of a power of two would be stored in the same few lines of the cache, where packing reads them column by column.
    logits, unsampled_logits = np.empty((TOKENS, len(offsets) + NR), F), np.empty(TOKENS, F)
    inverse_totals, grad_targets = np.empty(TOKENS, F), np.empty(TOKENS, F)
    grad_hidden = np.empty((num_tokens if needs_gradients else 0, size), F)
    grad_bias = np.zeros(num_samples, F)
    grad_unsampled, grad_unsampled_bias = np.zeros((len(unsampled_ids), size), F), np.zeros(len(unsampled_ids), F)
    weight_panels = pack_b(sample_weight)
    width = len(weight_panels) * NR
    zeros, scaled_hidden, grad_block = np.zeros(width, F), np.empty((TOKENS, size), F), np.empty((TOKENS, width), F)
    grad_weight = np.zeros((num_samples, width), F)
    grad_columns = np.empty((-(-num_samples // MR), TOKENS, MR), F)
    hidden_panels = np.empty((len(weight_panels), TOKENS, NR), F)

    nll_sum = 0.0
    for first in range(0, num_tokens, TOKENS):
        rows = min(TOKENS, num_tokens - first)
        block = hidden[first : first + rows]
        gemm_packed(block, weight_t, offsets, logits)
        for i in range(rows):
            if not is_sampled[first + i]:
                m = unsampled_index[first + i]
                unsampled_logits[i] = unsampled_offsets[m] + dot(block[i], weight[unsampled_ids[m]])
        nll_sum += logit_grads(
            logits[:rows],
            columns[first : first + rows],
            is_sampled[first : first + rows],
            unsampled_logits,
            inverse_totals,
            grad_targets,
            grad_bias,
        )
        if not needs_gradients:
            continue
        samples = logits[:rows, :num_samples]
        # Not the gradients of the logits (n, S) are divided by the total, but the products' factors (n, D), which is less work.
        gemm_packed(samples, weight_panels, zeros, grad_block)
        for i in range(rows):
            inverse = inverse_totals[i]
            for j in range(size):
                grad_hidden[first + i, j] = grad_block[i, j] * inverse
                scaled_hidden[i, j] = block[i, j] * inverse
            if not is_sampled[first + i]:
                m, grad_target = unsampled_index[first + i], grad_targets[i]
                row = weight[unsampled_ids[m]]
                grad_unsampled_bias[m] += grad_target
                for j in range(size):
                    grad_hidden[first + i, j] += grad_target * row[j]
                    grad_unsampled[m, j] += grad_target * block[i, j]
        pack_a(samples, grad_columns, 0)
        pack_b_rows(scaled_hidden[:rows], hidden_panels, 0)
        gemm_tn_accumulate(grad_columns[:, :rows], hidden_panels[:, :rows], grad_weight)

    return (
        nll_sum,
        grad_hidden,
        *merge_words(
            needs_gradients, ids, grad_weight[:, :size], grad_bias, unsampled_ids, grad_unsampled, grad_unsampled_bias
        ),
    )
