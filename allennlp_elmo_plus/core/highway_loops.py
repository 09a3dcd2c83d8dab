"""
A highway layer's halves, gate and transformed value, each one compiled call forward and one back, matrix products included.

Weights are (D, D), D a multiple of `WIDTH`; all else (U, D).
"""

import numpy as np

from .compiled import compiled, inlined
from .elementary_loops import sigmoid
from .tile_intrinsics import MOST_ROWS, WIDTH
from .tiles import (
    add_product_of_columns,
    multiply,
    panels_of,
    panels_of_transposed,
    spread_to_columns,
    spread_to_panels,
)

F = np.float32

# Rows whose part of the weight's gradient is computed at once: so many of a panel stay in a near cache.
ROWS = 512


@compiled
def gate(inputs: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """sigmoid(inputs @ weight + bias)."""
    found = np.empty_like(inputs)
    multiply(inputs, panels_of(weight), bias, found)
    for row in range(len(found)):
        values = found[row]
        for j in range(len(values)):
            values[j] = sigmoid(values[j])
    return found


@compiled
def transformed(inputs: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """relu(inputs @ weight + bias)."""
    found = np.empty_like(inputs)
    multiply(inputs, panels_of(weight), bias, found)
    for row in range(len(found)):
        values = found[row]
        for j in range(len(values)):
            values[j] = F(0) if values[j] < F(0) else values[j]
    return found


@compiled
def gate_backward(
    inputs: np.ndarray,
    weight: np.ndarray,
    gates: np.ndarray,
    values: np.ndarray,
    grad: np.ndarray,
    wants_inputs: bool,
    wants_weight: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """From the gradient of gates * values + (1 - gates) * inputs, the part that goes through the gates: see `_backward`."""
    grad_sums = np.empty_like(grad)
    for row in range(len(grad)):
        of_sums, g, of_output, value, skipped = grad_sums[row], gates[row], grad[row], values[row], inputs[row]
        for j in range(len(g)):
            of_sums[j] = (value[j] - skipped[j]) * of_output[j] * (F(1) - g[j]) * g[j]
    return _backward(inputs, weight, grad_sums, wants_inputs, wants_weight)


@compiled
def transformed_backward(
    inputs: np.ndarray,
    weight: np.ndarray,
    gates: np.ndarray,
    values: np.ndarray,
    grad: np.ndarray,
    wants_inputs: bool,
    wants_weight: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`gate_backward` through the transformed values."""
    grad_sums = np.empty_like(grad)
    for row in range(len(grad)):
        of_sums, g, of_output, value = grad_sums[row], gates[row], grad[row], values[row]
        for j in range(len(g)):
            of_sums[j] = F(0) if value[j] <= F(0) else of_output[j] * g[j]
    return _backward(inputs, weight, grad_sums, wants_inputs, wants_weight)


@inlined
def _backward(
    inputs: np.ndarray, weight: np.ndarray, grad_sums: np.ndarray, wants_inputs: bool, wants_weight: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of inputs, weight and bias of inputs @ weight + bias; without any rows where they are not wanted."""
    num_rows, size = grad_sums.shape
    grad_bias = np.zeros(size, F)
    for row in range(num_rows):
        for j in range(size):
            grad_bias[j] += grad_sums[row, j]
    grad_inputs = np.empty((num_rows if wants_inputs else 0, size), F)
    if wants_inputs:
        multiply(grad_sums, panels_of_transposed(weight), np.zeros(size, F), grad_inputs)
    grad_weight = np.zeros((size if wants_weight else 0, size), F)
    if wants_weight:
        columns = np.empty((-(-size // MOST_ROWS), min(ROWS, num_rows), MOST_ROWS), F)
        panels = np.empty((size // WIDTH, min(ROWS, num_rows), WIDTH), F)
        for first in range(0, num_rows, ROWS):
            rows = min(ROWS, num_rows - first)
            spread_to_columns(inputs[first : first + rows], columns, 0)
            spread_to_panels(grad_sums[first : first + rows], panels, 0)
            add_product_of_columns(columns[:, :rows], panels[:, :rows], grad_weight)
    return grad_inputs, grad_weight, grad_bias
