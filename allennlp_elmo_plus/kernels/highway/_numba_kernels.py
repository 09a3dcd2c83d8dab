"""The element-wise part of a highway layer in one pass over memory, forward and backward."""

import numpy as np

from allennlp_elmo_plus.kernels._elementwise import sigmoid
from allennlp_elmo_plus.kernels.jit import jit

F = np.float32


@jit
def combine(
    gate: np.ndarray,  # IN and OUT: (U, dim), the carry sums, then the gate
    transformed: np.ndarray,  # IN and OUT: (U, dim), the transform sums, then their positive part
    inputs: np.ndarray,  # IN: (U, dim)
    out: np.ndarray,  # OUT: (U, dim)
) -> None:
    """Compute the layer's output."""
    for row in range(len(out)):
        gate_row, transformed_row, inputs_row, out_row = gate[row], transformed[row], inputs[row], out[row]
        for j in range(len(out_row)):
            g, t = sigmoid(gate_row[j]), transformed_row[j]
            # NaN stays NaN.
            t = F(0) if t <= F(0) else t
            gate_row[j], transformed_row[j] = g, t
            out_row[j] = g * t + (F(1) - g) * inputs_row[j]


@jit
def combine_backward(
    grad: np.ndarray,  # IN: (U, dim), as are all
    gate: np.ndarray,  # IN
    transformed: np.ndarray,  # IN
    inputs: np.ndarray,  # IN
    grad_carry: np.ndarray,  # OUT, with respect to the carry sums
    grad_transform: np.ndarray,  # OUT, with respect to the transform sums
    grad_inputs: np.ndarray,  # OUT, with respect to the inputs that pass beside the gate
) -> None:
    """Compute the gradients of `combine`."""
    for row in range(len(grad)):
        grad_row, gate_row, transformed_row, inputs_row = grad[row], gate[row], transformed[row], inputs[row]
        carry_row, transform_row, grad_inputs_row = grad_carry[row], grad_transform[row], grad_inputs[row]
        for j in range(len(grad_row)):
            d, g, t = grad_row[j], gate_row[j], transformed_row[j]
            carry_row[j] = d * (t - inputs_row[j]) * g * (F(1) - g)
            transform_row[j] = F(0) if t <= F(0) else d * g
            grad_inputs_row[j] = d * (F(1) - g)
