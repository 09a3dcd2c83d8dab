"""The sampled softmax from its operands to all gradients as one compiled loop, matrix products included; and its middle alone, from
logits to errors. Either works on a row while it is in the processor's cache.

A softmax of a few thousand words takes some forty operations of PyTorch, each of which lets go of Python's lock and waits for it
again: two directions side by side spend a third of their time so.
"""

import math

import numpy as np

from allennlp_elmo_plus.kernels._elementwise import exp
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

# Sums side by side, which LLVM may make vectors of without changing the order of any.
LANES = 32

# Tokens whose logits are computed together: few enough that they are still near when their errors are multiplied.
TOKENS = 64


@jit_inline
def _logit_grads(
    logits: np.ndarray,
    columns: np.ndarray,
    is_sampled: np.ndarray,
    missed_logits: np.ndarray,
    inverse_totals: np.ndarray,
    grad_targets: np.ndarray,
    grad_bias: np.ndarray,
) -> float:
    """What `kernels.softmax.sampled_softmax._logit_grads` describes; the summed nll."""
    num_columns = logits.shape[1]
    whole = num_columns - num_columns % LANES
    peaks, sums = np.empty(LANES, F), np.empty(LANES, F)
    nll_sum = 0.0
    for row in range(len(logits)):
        values, column = logits[row], columns[row]
        target = values[column] if is_sampled[row] else missed_logits[row]
        peaks[:] = target
        for first in range(0, whole, LANES):
            block = values[first:]
            for lane in range(LANES):
                peaks[lane] = block[lane] if block[lane] > peaks[lane] else peaks[lane]
        peak = peaks.max()
        for j in range(whole, num_columns):
            peak = max(peak, values[j])
        sums[:] = F(0)
        for first in range(0, whole, LANES):
            block = values[first:]
            for lane in range(LANES):
                block[lane] = exp(block[lane] - peak)
                sums[lane] += block[lane]
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
    """Where the first of `ids` is that is not from 0 to before `size`; their number where all are."""
    for place in range(len(ids)):
        if ids[place] < 0 or ids[place] >= size:
            return place
    return len(ids)


@jit
def nll_and_gradients(
    hidden: np.ndarray,
    targets: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    ids: np.ndarray,
    log_expected: np.ndarray,
    num_tries: int,
    wants_gradients: bool,
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of hidden (N, D), targets (N,), weight (V, D), bias (V,), and of S samples their ids, rising, and log_expected: the summed nll;
    its gradient for hidden (N, D); and for the R distinct words their ids, rising, and the gradients of their weights (R, D) and
    biases (R,). Without `wants_gradients` only the first means anything.
    """
    num_tokens, size = hidden.shape
    num_samples = len(ids)
    columns = np.minimum(np.searchsorted(ids, targets), num_samples - 1)
    is_sampled = ids[columns] == targets
    missed_ids = np.unique(targets[~is_sampled])
    unsampled_targets = np.searchsorted(missed_ids, targets)

    sample_weight = np.empty((num_samples, size), F)
    for s in range(num_samples):
        sample_weight[s] = weight[ids[s]]
    weight_t = pack_b_transposed(sample_weight)
    start = np.zeros(len(weight_t) * NR, F)
    for s in range(num_samples):
        start[s] = bias[ids[s]] - F(log_expected[s])
    missed_offsets = np.empty(len(missed_ids), F)
    for m in range(len(missed_ids)):
        probability = math.log1p(1.0 / (missed_ids[m] + 1.0)) / math.log(len(weight) + 1.0)
        missed_offsets[m] = bias[missed_ids[m]] - F(math.log(-math.expm1(num_tries * math.log1p(-probability))))

    logits, missed_logits = np.empty((TOKENS, len(start)), F), np.empty(TOKENS, F)
    inverse_totals, grad_targets = np.empty(TOKENS, F), np.empty(TOKENS, F)
    grad_hidden = np.empty((num_tokens if wants_gradients else 0, size), F)
    grad_bias = np.zeros(num_samples, F)
    grad_missed, grad_missed_bias = np.zeros((len(missed_ids), size), F), np.zeros(len(missed_ids), F)
    weight_panels = pack_b(sample_weight)
    width = len(weight_panels) * NR
    zeros, narrow, grad_block = np.zeros(width, F), np.empty((TOKENS, size), F), np.empty((TOKENS, width), F)
    grad_weight = np.zeros((num_samples, width), F)
    error_columns = np.empty((-(-num_samples // MR), TOKENS, MR), F)
    hidden_panels = np.empty((len(weight_panels), TOKENS, NR), F)

    nll_sum = 0.0
    for first in range(0, num_tokens, TOKENS):
        rows = min(TOKENS, num_tokens - first)
        block = hidden[first : first + rows]
        gemm_packed(block, weight_t, start, logits)
        for i in range(rows):
            if not is_sampled[first + i]:
                m = unsampled_targets[first + i]
                row, total = weight[missed_ids[m]], missed_offsets[m]
                for j in range(size):
                    total += block[i, j] * row[j]
                missed_logits[i] = total
        samples = logits[:rows, :num_samples]
        nll_sum += _logit_grads(
            samples,
            columns[first : first + rows],
            is_sampled[first : first + rows],
            missed_logits,
            inverse_totals,
            grad_targets,
            grad_bias,
        )
        if not wants_gradients:
            continue
        # Errors stay undivided by the total: dividing the narrow factors of the products is far less work.
        gemm_packed(samples, weight_panels, zeros, grad_block)
        for i in range(rows):
            inverse = inverse_totals[i]
            for j in range(size):
                grad_hidden[first + i, j] = grad_block[i, j] * inverse
                narrow[i, j] = block[i, j] * inverse
            if not is_sampled[first + i]:
                m, error = unsampled_targets[first + i], grad_targets[i]
                row = weight[missed_ids[m]]
                grad_missed_bias[m] += error
                for j in range(size):
                    grad_hidden[first + i, j] += error * row[j]
                    grad_missed[m, j] += error * block[i, j]
        pack_a(samples, error_columns, 0)
        pack_b_rows(narrow[:rows], hidden_panels, 0)
        gemm_tn_accumulate(error_columns[:, :rows], hidden_panels[:, :rows], grad_weight)

    num_rows = num_samples + len(missed_ids) if wants_gradients else 0
    found, of_weight, of_bias = np.empty(num_rows, np.int64), np.empty((num_rows, size), F), np.empty(num_rows, F)
    s = m = 0
    for r in range(num_rows):
        if m == len(missed_ids) or (s < num_samples and ids[s] < missed_ids[m]):
            found[r], of_bias[r] = ids[s], grad_bias[s]
            of_weight[r] = grad_weight[s, :size]
            s += 1
        else:
            found[r], of_bias[r] = missed_ids[m], grad_missed_bias[m]
            of_weight[r] = grad_missed[m]
            m += 1
    return nll_sum, grad_hidden, found, of_weight, of_bias
