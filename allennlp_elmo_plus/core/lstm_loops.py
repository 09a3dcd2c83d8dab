"""
The element-wise part of an LSTM step as one compiled loop each way.

One pass over memory in place of ten, and one call in place of ten, which counts for as much: a step of a small LSTM takes
PyTorch longer to launch than to compute.
"""

import numpy as np

from .compiled import compiled, inlined

F = np.float32


@inlined
def _exp(x: F) -> F:
    # 2^n * e^r with |r| <= ln(2) / 2; the polynomial is that of Cephes' expf, good to an ulp or two.
    x = F(88) if x > F(88) else x
    x = F(-87) if x < F(-87) else x
    n = np.floor(x * F(1.44269504088896341) + F(0.5))
    r = x - n * F(0.693359375) + n * F(2.12194440e-4)
    p = F(1.9875691500e-4)
    p = p * r + F(1.3981999507e-3)
    p = p * r + F(8.3334519073e-3)
    p = p * r + F(4.1665795894e-2)
    p = p * r + F(1.6666665459e-1)
    p = p * r + F(5.0000001201e-1)
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return (p * r * r + r + F(1)) * power


@inlined
def _sigmoid(x: F) -> F:
    return F(1) / (F(1) + _exp(-x))


@inlined
def _tanh(x: F) -> F:
    # Near 0 the difference below would lose digits; there Cephes' polynomial takes over.
    square = x * x
    p = F(-5.70498872745e-3)
    p = p * square + F(2.06390887954e-2)
    p = p * square - F(5.37397155531e-2)
    p = p * square + F(1.33314422036e-1)
    p = p * square - F(3.33332819422e-1)
    near = p * square * x + x
    far = F(1) - F(2) / (F(1) + _exp(x + x))
    return near if abs(x) < F(0.625) else far


def _gates_forward(
    gates: np.ndarray,
    recurrent: np.ndarray,
    cells: np.ndarray,
    outputs: np.ndarray,
    clip: F,
    gate_row: int,
    previous_row: int,
    cell_row: int,
    output_row: int,
) -> None:
    """What `core.lstm_pointwise.forward_step` describes."""
    size = cells.shape[1]
    for row in range(len(recurrent)):
        gate, output, rest = gates[gate_row + row], outputs[output_row + row], recurrent[row]
        previous, cell = cells[previous_row + row], cells[cell_row + row]
        for j in range(size):
            i, g = _sigmoid(gate[j] + rest[j]), _tanh(gate[size + j] + rest[size + j])
            f = _sigmoid(gate[2 * size + j] + rest[2 * size + j])
            o = _sigmoid(gate[3 * size + j] + rest[3 * size + j])
            c = f * previous[j] + i * g
            c = clip if c > clip else c
            c = -clip if c < -clip else c
            gate[j], gate[size + j], gate[2 * size + j], gate[3 * size + j] = i, g, f, o
            cell[j] = c
            output[j] = o * _tanh(c)


def _gates_backward(
    grad_outputs: np.ndarray,
    gates: np.ndarray,
    cells: np.ndarray,
    grad_gates: np.ndarray,
    grad_cells: np.ndarray,
    clip: F,
    gate_row: int,
    previous_row: int,
    cell_row: int,
) -> None:
    """What `core.lstm_pointwise.backward_step` describes."""
    size = cells.shape[1]
    for row in range(len(grad_outputs)):
        gate, grad_gate = gates[gate_row + row], grad_gates[gate_row + row]
        previous, cell = cells[previous_row + row], cells[cell_row + row]
        grad_cell, grad_output = grad_cells[row], grad_outputs[row]
        for j in range(size):
            i, g, f, o = gate[j], gate[size + j], gate[2 * size + j], gate[3 * size + j]
            c, dh = cell[j], grad_output[j]
            t = _tanh(c)
            dc = grad_cell[j] + dh * o * (F(1) - t * t)
            dc = F(0) if abs(c) >= clip else dc
            grad_gate[j] = dc * g * i * (F(1) - i)
            grad_gate[size + j] = dc * i * (F(1) - g * g)
            grad_gate[2 * size + j] = dc * previous[j] * f * (F(1) - f)
            grad_gate[3 * size + j] = dh * t * o * (F(1) - o)
            grad_cell[j] = dc * f


# For one step alone, and as a part of the loops over all steps.
gates_forward, inlined_gates_forward = compiled(_gates_forward), inlined(_gates_forward)
gates_backward, inlined_gates_backward = compiled(_gates_backward), inlined(_gates_backward)
