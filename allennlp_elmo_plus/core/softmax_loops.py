"""From logits to errors in one pass over each row while it is in the processor's cache."""

import numpy as np

from .compiled import compiled
from .elementary_loops import exp

F = np.float32

# Sums side by side, which LLVM may make vectors of without changing the order of any.
LANES = 32


@compiled
def errors(
    logits: np.ndarray,
    columns: np.ndarray,
    is_sampled: np.ndarray,
    missed_logits: np.ndarray,
    inverse_totals: np.ndarray,
    grad_targets: np.ndarray,
    grad_bias: np.ndarray,
) -> float:
    """What `core.sampled_softmax._errors` describes; the summed nll."""
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
