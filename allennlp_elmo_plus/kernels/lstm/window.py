"""A window of a direction's steps, and the way back to all gradients: in one compiled loop, or step by step.

The compiled loop (`kernels.lstm._numba_kernels`) is for float32 on a CPU, unless so large weights are read for so few rows
that it would
be the slower one.
"""

import math
from functools import lru_cache
from types import ModuleType
from typing import NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor

from allennlp_elmo_plus.kernels.arrays import arrays, arrays_to_fill
from allennlp_elmo_plus.kernels.backend import loops_for
from allennlp_elmo_plus.kernels.gemm.linear import linear, matmul_tn
from allennlp_elmo_plus.kernels.lstm.steps import (
    Buffers,
    Clips,
    Run,
    StateGradients,
    Step,
    Weights,
    backward_steps,
    forward_steps,
)

# Weights of a kernel up to which the compiled loop takes less time: on any number of threads, of which it uses one; and on one
# thread whatever the window, for a processor's caches hold them from step to step.
SMALL_KERNEL = 1 << 19
CACHED_KERNEL = 1 << 22

# Larger ones on one thread: rows of a step that make up for reading the weights, and steps for arranging them. Otherwise libraries,
# which multiply by the weights as they are, take less time; in bfloat16 they always do.
MIN_ROWS = 4
MIN_STEPS = 4

# Rows of a step from which on the compiled loop multiplies inputs and hidden states at once. The inputs' product over many steps
# reads its weights only once, which for few rows takes longer than to multiply.
MIN_ROWS_FOR_JOINT_GEMM = 8


class NeedsGrad(NamedTuple):
    """Gradients that cost a product."""

    inputs: bool
    kernel: bool
    projection: bool


class WindowGradients(NamedTuple):
    """None where it is not wanted; all but the bias in the type of the products."""

    inputs: Optional[Tensor]  # (N, I)
    kernel: Optional[Tensor]  # (I + P, 4C)
    bias: Tensor  # (4C,)
    projection: Optional[Tensor]  # (C, P)


def lstm_forward(weights: Weights, clips: Clips, buffers: Buffers, final_cell: Tensor) -> Run:
    """`forward_steps`, in one compiled loop where that is faster."""
    loops = _window_loops(weights, buffers, len(final_cell))
    if loops is None:
        return forward_steps(weights, clips, buffers, final_cell)
    kernel, bias = weights.kernel, weights.bias
    joins_inputs = kernel.dtype == torch.float32 and len(final_cell) >= MIN_ROWS_FOR_JOINT_GEMM
    factor = loops.gate_panels(_factor(kernel if joins_inputs else weights.recurrent))
    start = loops.gate_panels(arrays(bias)[0].reshape(1, -1)).reshape(-1)
    projection = loops.panels(_factor(weights.projection))
    filled = arrays_to_fill(*buffers, final_cell)
    limits = _limit(clips.cell), _limit(clips.projection)

    def run(inputs: Tensor, steps: tuple[Step, ...]) -> Tensor:
        if joins_inputs:
            gates = bias.new_empty(len(inputs), len(bias))
        else:
            gates, inputs = linear(inputs, weights.of_inputs).to(bias.dtype), inputs[:, :0]
        given = _factor(inputs), factor, start, projection, *arrays_to_fill(gates)
        loops.forward_steps(_table(steps), *given, *filled, *limits)
        return gates

    return run


def lstm_backward(
    steps: tuple[Step, ...],
    inputs: Tensor,
    weights: Weights,
    clips: Clips,
    gates: Tensor,
    buffers: Buffers,
    grads: StateGradients,
    wanted: NeedsGrad,
) -> WindowGradients:
    """From what `lstm_forward` has filled in for all steps, and from the gradients of its results. grads.hidden and grads.cell turn
    from the gradients of the last state into those of the first, grads.outputs into anything.
    """
    loops = _window_loops(weights, buffers, len(grads.cell)) if steps else None
    if loops is not None and _fills_panels(weights, loops):
        # None of a step's gradients has to last.
        grad_gates = gates.new_empty(len(grads.cell), gates.shape[1])
        found = WindowGradients(
            torch.empty_like(inputs) if wanted.inputs else None,
            torch.zeros_like(weights.kernel) if wanted.kernel else None,
            torch.zeros_like(weights.bias),
            torch.zeros_like(weights.projection) if wanted.projection and weights.projection is not None else None,
        )
        _backward_compiled(loops, steps, inputs, weights, clips, gates, buffers, grads, grad_gates, found)
        return found
    if loops is not None:
        grad_gates, grad_bias = torch.empty_like(gates), torch.zeros_like(weights.bias)
        nothing = WindowGradients(None, None, grad_bias, None)
        _backward_compiled(loops, steps, inputs, weights, clips, gates, buffers, grads, grad_gates, nothing)
    else:
        grad_gates = backward_steps(steps, weights, clips, gates, buffers, grads)
        grad_bias = grad_gates.sum(0)
    dtype = weights.kernel.dtype
    factor = grad_gates.to(dtype)
    grad_inputs = grad_kernel = grad_projection = None
    if wanted.inputs:
        grad_inputs = linear(factor, weights.of_inputs.t())
    if wanted.kernel:
        previous = previous_rows(buffers.outputs, len(grads.cell), [step.rows for step in steps]).to(dtype)
        grad_kernel = matmul_tn(torch.cat([inputs, previous], dim=1), factor)
    if wanted.projection:
        grad_projection = matmul_tn(buffers.unprojected.to(dtype), grads.outputs.to(dtype))
    return WindowGradients(grad_inputs, grad_kernel, grad_bias, grad_projection)


def previous_rows(history: Tensor, num_rows: int, batch_sizes: list[int]) -> Tensor:
    """What each packed row held one step earlier, (..., N, size). `history` (..., B + N, size) holds the initial state of the
    B = `num_rows` rows, then the packed steps.
    """
    if all(rows == num_rows for rows in batch_sizes):
        return history[..., :-num_rows, :]
    blocks = history.split([num_rows, *batch_sizes], dim=-2)
    return torch.cat([blocks[t][..., :rows, :] for t, rows in enumerate(batch_sizes)], dim=-2)


def _backward_compiled(
    loops: ModuleType,
    steps: tuple[Step, ...],
    inputs: Tensor,
    weights: Weights,
    clips: Clips,
    gates: Tensor,
    buffers: Buffers,
    grads: StateGradients,
    grad_gates: Tensor,
    found: WindowGradients,
) -> None:
    # Only the kernel's gradient is made of the inputs.
    given = [_factor(inputs[:, :0] if found.kernel is None else inputs), *arrays(gates, *buffers)]
    of_inputs = None if found.inputs is None else weights.of_inputs
    factors = [loops.panels_t(_factor(weight)) for weight in (of_inputs, weights.recurrent, weights.projection)]
    nothing = np.empty((0, 0), np.float32)
    filled = [nothing if tensor is None else arrays_to_fill(tensor)[0] for tensor in (*grads, grad_gates, *found)]
    loops.backward_steps(_table(steps), *given, *factors, *filled, _limit(clips.cell), _limit(clips.projection))


def _window_loops(weights: Weights, buffers: Buffers, num_rows: int) -> Optional[ModuleType]:
    size, one_thread = weights.kernel.numel(), torch.get_num_threads() == 1
    if size > (CACHED_KERNEL if one_thread else SMALL_KERNEL):
        num_tokens = len(buffers.outputs) - num_rows
        is_long = num_rows >= MIN_ROWS and num_tokens >= MIN_STEPS * num_rows
        if not (one_thread and is_long and weights.kernel.dtype == torch.float32):
            return None
    return loops_for(weights.bias, "lstm._numba_kernels")


@lru_cache(maxsize=64)
def _table(steps: tuple[Step, ...]) -> np.ndarray:
    return np.array(steps)


def _fills_panels(weights: Weights, loops: ModuleType) -> bool:
    """Whether the loops compute whole gradients: not where a narrower type is faster, nor where a panel would reach beyond them."""
    sizes = weights.input_size, len(weights.kernel), weights.kernel.shape[1]
    return weights.kernel.dtype == torch.float32 and all(size % loops.NR == 0 for size in sizes)


def _factor(tensor: Optional[Tensor]) -> np.ndarray:
    """Return a factor of a product, which may have a narrower type, in float32; without rows and columns where there is none."""
    return np.empty((0, 0), np.float32) if tensor is None else arrays(tensor.float())[0]


def _limit(clip: Optional[float]) -> np.float32:
    return np.float32(math.inf if clip is None else clip)
