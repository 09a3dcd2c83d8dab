"""One direction of a layer over one window: allocates the buffers, and runs the steps by the backend that is the fastest here."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Optional, TypeVar

import torch
from torch import Tensor

from allennlp_elmo_plus.kernels.backend import is_packed_bfloat16, run
from allennlp_elmo_plus.kernels.lstm.torch_steps import backward_steps, forward_steps
from allennlp_elmo_plus.kernels.lstm.window import (
    Buffers,
    Clips,
    Gradients,
    LstmTensors,
    UpstreamGradients,
    Window,
    plan_steps,
)

Result = TypeVar("Result")

# Gates that fit a core's cache beside all else.
CACHED_GATE_VALUES = 1 << 18


class SavedForBackward(NamedTuple):
    """The tensors of a direction that its backward pass reads."""

    inputs: Tensor  # (N, I)
    kernel: Tensor  # (I + P, 4C)
    bias: Tensor  # (4C,)
    projection: Optional[Tensor]  # (C, P)
    gates: Tensor  # (N, 4C), activations, in the state's dtype as are the following
    cells: Tensor  # (B + N, C), the initial cells first
    unprojected: Tensor  # (N, C); `outputs` where there is no projection
    outputs: Tensor  # (B + N, P), the initial hidden state first


def forward(
    tensors: LstmTensors, clips: Clips, batch_sizes: list[int], saves: bool
) -> tuple[tuple[Tensor, Tensor, Tensor], Optional[SavedForBackward]]:
    """Return outputs (N, P), hidden (B, P) and cell (B, C) after each row's last step, and the tensors that `backward` reads.

    Args:
        tensors: The direction's arguments.
        clips: The bounds of cell and output.
        batch_sizes: The number of rows of each step.
        saves: Whether there will be a backward pass. Without it, cells and gates of only a few steps are in memory.
    """
    inputs, hidden, cell, kernel, bias, projection = tensors
    num_rows, num_steps = len(cell), len(batch_sizes)
    outputs = cell.new_empty(num_rows + len(inputs), hidden.shape[1])
    outputs[:num_rows] = hidden
    cells = cell.new_empty(num_rows + len(inputs) if saves else 2 * num_rows, cell.shape[1])
    cells[:num_rows] = cell
    unprojected = outputs
    if projection is not None:
        unprojected = cell.new_empty(len(inputs) if saves else num_rows, cell.shape[1])
    # Gates that a product has just written are still in the processor's cache when their step reads them. A block has at least as
    # many rows as the inputs are wide: from then on the product reads less of the kernel than it writes of gates.
    block_rows = max(inputs.shape[1], CACHED_GATE_VALUES // len(bias))
    block_steps = max(1, num_steps if saves else math.ceil(block_rows / max(1, num_rows)))
    steps = plan_steps(tuple(batch_sizes), num_rows, block_steps, saves, projection is not None)
    window = Window(tensors, clips, Buffers(cells, unprojected, outputs), steps, block_steps)
    final_hidden, final_cell = (state.clone(memory_format=torch.contiguous_format) for state in (hidden, cell))

    def loop() -> Tensor:
        from allennlp_elmo_plus.kernels.lstm._numba_loop import forward_loop

        return forward_loop(window, final_cell)

    def by_step() -> Tensor:
        return run("lstm.gates", bias, _for_gates(partial(forward_steps, window, final_cell)))

    gates = run("lstm.loop", bias, {"numba": loop, "torch": by_step}, **_loop_sizes(window))
    for step in steps:
        if step.num_continuing < step.rows:
            ended = slice(step.outputs + step.num_continuing, step.outputs + step.rows)
            final_hidden[step.num_continuing : step.rows] = outputs[ended]
    results = outputs[num_rows:], final_hidden, final_cell
    saved = SavedForBackward(inputs, kernel, bias, projection, gates, cells, unprojected, outputs) if saves else None
    return results, saved


def backward(
    saved: SavedForBackward, clips: Clips, batch_sizes: list[int], upstream: UpstreamGradients, needs: Sequence[bool]
) -> Gradients:
    """Return the gradients of the arguments of `forward`, for those that `needs` names, in the order of `LstmTensors`."""
    inputs, kernel, bias, projection, gates, *buffers = saved
    num_rows, block_steps = len(upstream.cell), max(1, len(batch_sizes))
    steps = plan_steps(tuple(batch_sizes), num_rows, block_steps, True, projection is not None)
    state = saved.outputs[:num_rows], saved.cells[:num_rows]
    window = Window(LstmTensors(inputs, *state, kernel, bias, projection), clips, Buffers(*buffers), steps, block_steps)

    def loop() -> Gradients:
        from allennlp_elmo_plus.kernels.lstm._numba_loop import backward_loop

        return backward_loop(window, gates, upstream, needs)

    def by_step() -> Gradients:
        return run("lstm.gates", bias, _for_gates(partial(backward_steps, window, gates, upstream, needs)))

    return run("lstm.loop", bias, {"numba": loop, "torch": by_step}, **_loop_sizes(window))


def _for_gates(steps: Callable[..., Result]) -> dict[str, Callable[[], Result]]:
    return {"numba": partial(steps, compiled_gates=True), "torch": partial(steps, compiled_gates=False)}


def _loop_sizes(window: Window) -> dict[str, int]:
    tensors = window.tensors
    inner_sizes = tensors.inputs.shape[1], tensors.hidden.shape[1], tensors.cell.shape[1]
    return {
        "kernel_values": tensors.kernel.numel(),
        "rows": window.num_rows,
        "tokens": len(tensors.inputs),
        "is_packed_bfloat16": int(is_packed_bfloat16(tensors.kernel.dtype, *inner_sizes)),
        "has_one_dtype": int(tensors.kernel.dtype == tensors.bias.dtype),
    }
