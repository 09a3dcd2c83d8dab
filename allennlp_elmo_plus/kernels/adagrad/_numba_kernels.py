"""Adagrad's update as compiled loops: one pass over parameter, gradient and sum."""

import numpy as np

from allennlp_elmo_plus.kernels.jit import jit, jit_inline

F = np.float32


def _update(param: np.ndarray, grad: np.ndarray, grad_sum: np.ndarray, squared_scale: F, rate: F) -> None:
    """Sum += squared_scale * grad^2, param -= rate * grad / sqrt(sum), over flat arrays."""
    for i in range(param.size):
        total = grad_sum[i] + squared_scale * grad[i] * grad[i]
        grad_sum[i] = total
        param[i] -= rate * grad[i] / np.sqrt(total)


update, inlined_update = jit(_update), jit_inline(_update)


@jit
def update_rows(
    param: np.ndarray, rows: np.ndarray, values: np.ndarray, grad_sum: np.ndarray, squared_scale: F, rate: F
) -> None:
    """`update` of the rows `rows` of param and grad_sum, (V, D) both, by `values`, a gradient for each."""
    for i in range(len(rows)):
        inlined_update(param[rows[i]], values[i], grad_sum[rows[i]], squared_scale, rate)
