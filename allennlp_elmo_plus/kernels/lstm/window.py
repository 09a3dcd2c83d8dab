"""One direction of a layer over one window of text: the tensors that all forms of the LSTM read and fill."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.kernels.dtypes import widest_dtype
from allennlp_elmo_plus.kernels.gemm.linear import linear, matmul_tn


class LstmTensors(NamedTuple):
    """The arguments of one direction. Inputs, kernel and projection have the dtype of the products, the others the state's."""

    inputs: Tensor  # (N, I) packed, time-major
    hidden: Tensor  # (B, P) before the first step
    cell: Tensor  # (B, C) before the first step
    kernel: Tensor  # (I + P, 4C)
    bias: Tensor  # (4C,), with the 1 of the forget gate
    projection: Optional[Tensor]  # (C, P)

    @property
    def input_kernel(self) -> Tensor:
        """(I, 4C)."""
        return self.kernel[: self.inputs.shape[1]]

    @property
    def recurrent_kernel(self) -> Tensor:
        """(P, 4C)."""
        return self.kernel[self.inputs.shape[1] :]

    def converted(self, dtype: torch.dtype) -> "LstmTensors":
        """Return the tensors with products in `dtype`, and the state in the weights' dtype, float32 or wider."""
        inputs, hidden, cell, kernel, bias, projection = self
        state_dtype = widest_dtype([kernel])
        return LstmTensors(
            inputs.to(dtype),
            hidden.to(state_dtype),
            cell.to(state_dtype),
            kernel.to(dtype),
            bias.to(state_dtype),
            None if projection is None else projection.to(dtype),
        )


class Clips(NamedTuple):
    """The bounds of the cell and of the projected output; None for no bound."""

    cell: Optional[float]
    projection: Optional[float]


class Buffers(NamedTuple):
    """What the steps fill, in the state's dtype. Without a projection `unprojected` is `outputs`."""

    cells: Tensor  # (B + N, C), the initial cells first
    unprojected: Tensor  # (N, C)
    outputs: Tensor  # (B + N, P), the initial hidden state first


class Step(NamedTuple):
    """The number of rows of a time step, and the first of them in each buffer."""

    rows: int
    gates: int
    hidden: int  # of the step before, in the outputs
    previous_cells: int
    cells: int
    unprojected: int
    outputs: int
    num_continuing: int  # rows that the next step has too


class Window(NamedTuple):
    """A direction's arguments, buffers and steps."""

    tensors: LstmTensors
    clips: Clips
    buffers: Buffers
    steps: tuple[Step, ...]
    block_steps: int  # steps whose gates are in memory at the same time

    @property
    def num_rows(self) -> int:
        """B."""
        return len(self.tensors.cell)

    def blocks(self) -> Iterator[tuple[Tensor, tuple[Step, ...]]]:
        """Yield the inputs and the steps of each block, in order."""
        for first in range(0, len(self.steps), self.block_steps):
            block = self.steps[first : first + self.block_steps]
            first_row, last_row = block[0].outputs - self.num_rows, block[-1].outputs - self.num_rows + block[-1].rows
            yield self.tensors.inputs[first_row:last_row], block


class UpstreamGradients(NamedTuple):
    """The gradients of a direction's results, in the state's dtype."""

    outputs: Tensor  # (N, P)
    hidden: Tensor  # (B, P) after the last step
    cell: Tensor  # (B, C) after the last step

    def copy(self) -> "UpstreamGradients":
        """Return contiguous copies, which a backward pass overwrites."""
        return UpstreamGradients(*(grad.clone(memory_format=torch.contiguous_format) for grad in self))


# The gradients of a direction's arguments, in the order of `LstmTensors`; None where a gradient is not needed.
Gradients = tuple[Optional[Tensor], ...]


# All windows of running text have the same steps.
@lru_cache(maxsize=64)
def plan_steps(
    batch_sizes: tuple[int, ...], num_rows: int, block_steps: int, saves: bool, has_projection: bool
) -> tuple[Step, ...]:
    """Return where the rows of each step lie.

    Args:
        batch_sizes: The number of rows of each step, never more than at the step before.
        num_rows: B.
        block_steps: The gates of this many steps lie in one buffer, which each block of steps overwrites.
        saves: Whether cells and unprojected outputs of all steps are kept for a backward pass. Otherwise two steps take turns in
            the buffer of the cells, and each step overwrites the unprojected outputs.
        has_projection: Whether the unprojected outputs have a buffer of their own.
    """
    first_rows = [0, *accumulate(batch_sizes)]
    cells = [0, *(num_rows + row if saves else num_rows * (1 - t % 2) for t, row in enumerate(first_rows))]
    outputs = [0, *(num_rows + row for row in first_rows)]
    return tuple(
        Step(
            rows=rows,
            gates=first_rows[t] - first_rows[t - t % block_steps],
            hidden=outputs[t],
            previous_cells=cells[t],
            cells=cells[t + 1],
            unprojected=outputs[t + 1] if not has_projection else first_rows[t] if saves else 0,
            outputs=outputs[t + 1],
            num_continuing=batch_sizes[t + 1] if t + 1 < len(batch_sizes) else 0,
        )
        for t, rows in enumerate(batch_sizes)
    )


def weight_gradients(window: Window, grad_gates: Tensor, grad_outputs: Tensor, needs: Sequence[Any]) -> Gradients:
    """Return the gradients of inputs, kernel and projection: one product each, over all steps.

    Args:
        window: The window after its forward pass.
        grad_gates: The gradient of the gates' pre-activations, (N, 4C).
        grad_outputs: The gradient of the outputs before their clip, (N, P).
        needs: Whether inputs, kernel and projection need a gradient.
    """
    tensors, buffers = window.tensors, window.buffers
    dtype = tensors.kernel.dtype
    factor = grad_gates.to(dtype)
    needs_inputs, needs_kernel, needs_projection = needs
    grad_inputs = grad_kernel = grad_projection = None
    if needs_inputs:
        grad_inputs = linear(factor, tensors.input_kernel.t(), dtype=grad_gates.dtype)
    if needs_kernel:
        previous = previous_rows(buffers.outputs, window.num_rows, [step.rows for step in window.steps]).to(dtype)
        grad_kernel = matmul_tn(torch.cat([tensors.inputs, previous], dim=1), factor, grad_gates.dtype)
    if needs_projection:
        grad_projection = matmul_tn(buffers.unprojected.to(dtype), grad_outputs.to(dtype), grad_gates.dtype)
    return grad_inputs, grad_kernel, grad_projection


def previous_rows(history: Tensor, num_rows: int, batch_sizes: list[int]) -> Tensor:
    """Return the values of each packed row one step earlier, (..., N, size).

    Args:
        history: The initial values of the B rows, then those of the packed steps, (..., B + N, size).
        num_rows: B.
        batch_sizes: The number of rows of each step.
    """
    if all(rows == num_rows for rows in batch_sizes):
        return history[..., :-num_rows, :]
    blocks = history.split([num_rows, *batch_sizes], dim=-2)
    return torch.cat([blocks[t][..., :rows, :] for t, rows in enumerate(batch_sizes)], dim=-2)
