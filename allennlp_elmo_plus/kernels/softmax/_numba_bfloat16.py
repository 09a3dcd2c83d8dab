"""The sampled softmax as one compiled kernel, with its three products in bfloat16; all else is in float32."""

import numpy as np

from allennlp_elmo_plus.kernels.gemm._bfloat16 import pair_rows, transposed
from allennlp_elmo_plus.kernels.gemm._packing import fill_factor, gemm_packed, pack_b, pack_b_transposed
from allennlp_elmo_plus.kernels.jit import jit
from allennlp_elmo_plus.kernels.softmax._numba_kernels import (
    TOKENS,
    dot,
    logit_grads,
    merge_words,
    rows_of,
    sample_offsets,
    unsampled_offsets_of,
)

F, WORD = np.float32, np.uint32


@jit
def nll_and_gradients(
    hidden: np.ndarray,  # IN (N, D), float32 values that bfloat16 holds exactly; D is a multiple of 32
    columns: np.ndarray,  # IN (N,), see `kernels.softmax.sampled_softmax.split_targets`, as are the next three
    is_sampled: np.ndarray,  # IN (N,)
    unsampled_ids: np.ndarray,  # IN
    unsampled_index: np.ndarray,  # IN (N,)
    weight: np.ndarray,  # IN (V, D)
    bias: np.ndarray,  # IN (V,)
    ids: np.ndarray,  # IN (S,), ascending; S is a multiple of 32
    log_expected: np.ndarray,  # IN (S,)
    num_tries: int,
    needs_gradients: bool,
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return what `_numba_kernels.nll_and_gradients` returns."""
    num_tokens, size = hidden.shape
    num_samples = len(ids)
    sample_weight = rows_of(weight, ids)
    weight_words = np.empty((num_samples, size // 2), WORD)
    fill_factor(weight_words, sample_weight)
    weight_t = pack_b_transposed(weight_words)
    weight_pairs = np.empty((num_samples // 2, size), WORD)
    pair_rows(weight_pairs, sample_weight)
    weight_panels = pack_b(weight_pairs)
    offsets = sample_offsets(bias, ids, log_expected, num_samples)
    unsampled_offsets = unsampled_offsets_of(bias, unsampled_ids, num_tries)

    logits, unsampled_logits = np.empty((TOKENS, num_samples), F), np.empty(TOKENS, F)
    inverse_totals, grad_targets = np.empty(TOKENS, F), np.empty(TOKENS, F)
    grad_hidden = np.empty((num_tokens if needs_gradients else 0, size), F)
    grad_bias = np.zeros(num_samples, F)
    grad_unsampled, grad_unsampled_bias = np.zeros((len(unsampled_ids), size), F), np.zeros(len(unsampled_ids), F)
    zeros, grad_block = np.zeros(max(num_samples, size), F), np.empty((TOKENS, size), F)
    hidden_factor, logits_factor = np.empty((TOKENS, size // 2), WORD), np.empty((TOKENS, num_samples // 2), WORD)
    # The factors of the weight's gradient, a sum over all tokens, as pairs of tokens; zeros fill the last block.
    num_blocks = -(-num_tokens // TOKENS) if needs_gradients else 0
    scaled_hidden = np.empty((TOKENS, size), F)
    hidden_pairs = np.empty((num_blocks * TOKENS // 2, size), WORD)
    logits_pairs = np.empty((num_blocks * TOKENS // 2, num_samples), WORD)

    nll_sum = 0.0
    for first in range(0, num_tokens, TOKENS):
        rows = min(TOKENS, num_tokens - first)
        block = hidden[first : first + rows]
        fill_factor(hidden_factor, block)
        gemm_packed(hidden_factor[:rows], weight_t, offsets, logits)
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
        fill_factor(logits_factor, logits[:rows])
        gemm_packed(logits_factor[:rows], weight_panels, zeros, grad_block)
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
        logits[rows:] = 0
        scaled_hidden[rows:] = 0
        pair_rows(logits_pairs[first // 2 : (first + TOKENS) // 2], logits)
        pair_rows(hidden_pairs[first // 2 : (first + TOKENS) // 2], scaled_hidden)

    # (D, S), since the smaller factor is to be transposed.
    grad_weight = np.empty((size, num_samples), F)
    gemm_packed(transposed(hidden_pairs), pack_b(logits_pairs), zeros, grad_weight)
    return (
        nll_sum,
        grad_hidden,
        *merge_words(
            needs_gradients,
            ids,
            transposed(grad_weight),
            grad_bias,
            unsampled_ids,
            grad_unsampled,
            grad_unsampled_bias,
        ),
    )
