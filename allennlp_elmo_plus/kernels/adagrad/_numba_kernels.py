"""Adagrad's update as compiled kernels: one pass over parameter, gradient and sum."""

import numpy as np

from allennlp_elmo_plus.kernels.jit import jit, jit_inline

F = np.float32


def _update(
    param: np.ndarray,  # IN and OUT
    grad: np.ndarray,  # IN
    grad_sum: np.ndarray,  # IN and OUT
    squared_scale: F,
    rate: F,
) -> None:
    """Update flat arrays: `grad_sum += squared_scale * grad^2`, `param -= rate * grad / sqrt(grad_sum)`."""
    for i in range(param.size):
        total = grad_sum[i] + squared_scale * grad[i] * grad[i]
        grad_sum[i] = total
        param[i] -= rate * grad[i] / np.sqrt(total)


update, _update_inline = jit(_update), jit_inline(_update)


@jit
def update_rows(
    param: np.ndarray,  # IN and OUT (V, D)
    rows: np.ndarray,  # IN (R,)
    values: np.ndarray,  # IN (R, D)
    grad_sum: np.ndarray,  # IN and OUT (V, D)
    squared_scale: F,
    rate: F,
) -> None:
    """Update the rows `rows` of `param` and `grad_sum` by the gradients `values`."""
    for i in range(len(rows)):
        _update_inline(param[rows[i]], values[i], grad_sum[rows[i]], squared_scale, rate)
