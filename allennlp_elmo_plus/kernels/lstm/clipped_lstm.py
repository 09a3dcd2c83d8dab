"""The clipped, projected LSTM of all directions of a layer, with back-propagation through time written by hand.

Directions share nothing, and run in parallel.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Optional

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from allennlp_elmo_plus.kernels.backend import is_packed_bfloat16, run
from allennlp_elmo_plus.kernels.cuda_graph import GraphCapture
from allennlp_elmo_plus.kernels.dtypes import widest_dtype
from allennlp_elmo_plus.kernels.gemm.linear import product_dtype
from allennlp_elmo_plus.kernels.lstm import reference
from allennlp_elmo_plus.kernels.lstm.direction import SavedForBackward, backward, forward
from allennlp_elmo_plus.kernels.lstm.stacked_lstm import run_stacked
from allennlp_elmo_plus.kernels.lstm.window import Clips, LstmTensors, UpstreamGradients
from allennlp_elmo_plus.kernels.threads import run_in_threads

# Outputs (N, P), and hidden (B, P) and cell (B, C) after each row's last step.
Results = tuple[Tensor, Tensor, Tensor]


def clipped_lstm(
    batch_sizes: list[int],
    cell_clip: Optional[float],
    proj_clip: Optional[float],
    directions: Sequence[LstmTensors],
    capture: GraphCapture,
) -> list[Results]:
    """Return the results of each direction.

    Products are in autocast's dtype where autocast is enabled, otherwise in the weights'; on a CPU they are in bfloat16 only where the
    sizes fit the processor's instructions, since PyTorch's own take several times as long. Sums are in float32 or wider. The state
    has the weights' dtype, float32 or wider. On a CPU the outputs have the weights' dtype, on a GPU that of the products.

    Gradients reach all tensors of a direction. There is no gradient of a gradient: it raises a `RuntimeError`, except with the
    backend `reference`.

    Args:
        batch_sizes: The number of rows of each step, never more than at the step before. Rows that have ended keep their state.
        cell_clip: The bound of the cell; None for no bound.
        proj_clip: The bound of the projected output; None for no bound.
        directions: The tensors of each direction, in any floating-point dtypes.
        capture: The CUDA graphs of the layer that calls.
    """
    kernel = directions[0].kernel
    clips = Clips(cell_clip, None if directions[0].projection is None else proj_clip)
    dtypes = [product_dtype(direction.kernel) for direction in directions]
    cpu_dtypes = list(map(_products_dtype, directions))
    implementations = {
        "triton": lambda: run_stacked(batch_sizes, clips, directions, dtypes, capture),
        "torch": lambda: _run_in_threads(batch_sizes, clips, directions, cpu_dtypes),
        "reference": lambda: _run_reference(batch_sizes, clips, directions),
    }
    with torch.autocast(kernel.device.type, enabled=False):
        return run("lstm", kernel.new_empty(0, dtype=dtypes[0]), implementations)


def _products_dtype(direction: LstmTensors) -> torch.dtype:
    kernel, dtype = direction.kernel, product_dtype(direction.kernel)
    inner_sizes = direction.inputs.shape[1], direction.hidden.shape[1], direction.cell.shape[1]
    if kernel.device.type == "cpu" and dtype == torch.bfloat16 and not is_packed_bfloat16(dtype, *inner_sizes):
        return kernel.dtype
    return dtype


def _run_reference(batch_sizes: list[int], clips: Clips, directions: Sequence[LstmTensors]) -> list[Results]:
    results = []
    for direction in directions:
        tensors = direction.converted(widest_dtype([direction.kernel]))
        outputs, hidden, cell = reference.lstm(batch_sizes, clips.cell, clips.projection, *tensors)
        results.append((outputs.to(direction.kernel.dtype), hidden, cell))
    return results


def _run_in_threads(
    batch_sizes: list[int], clips: Clips, directions: Sequence[LstmTensors], dtypes: Sequence[torch.dtype]
) -> list[Results]:
    tensors = [tensor for direction in directions for tensor in direction]
    # Whether a backward pass comes cannot be asked inside of the autograd function: parameters need a gradient without it, too.
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors):
        flat = _ClippedLstm.apply(batch_sizes, clips, dtypes, *tensors)
        results = _grouped(flat, len(UpstreamGradients._fields))
    else:
        results = [result for result, _ in _forward_in_threads(batch_sizes, clips, directions, dtypes, saves=False)]
    return [(outputs.to(d.kernel.dtype), *state) for (outputs, *state), d in zip(results, directions, strict=True)]


class _ClippedLstm(torch.autograd.Function):
    """The tensors of all directions, concatenated -> the results of all directions, concatenated.

    Products in bfloat16 are each rounded once, inside a compiled loop not at all. Gates, cells, outputs and all sums of gradients have
    the state's dtype.
    """

    @staticmethod
    def forward(
        ctx: Any, batch_sizes: list[int], clips: Clips, dtypes: Sequence[torch.dtype], *tensors: Optional[Tensor]
    ) -> tuple[Tensor, ...]:
        directions = [LstmTensors(*direction) for direction in _grouped(tensors, len(LstmTensors._fields))]
        results = _forward_in_threads(batch_sizes, clips, directions, dtypes, saves=True)
        ctx.save_for_backward(*(tensor for _, saved in results for tensor in saved or ()))
        ctx.batch_sizes, ctx.clips = batch_sizes, clips
        ctx.tensor_dtypes = [None if tensor is None else tensor.dtype for tensor in tensors]
        return tuple(tensor for result, _ in results for tensor in result)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Optional[Tensor], ...]:
        def backward_of_direction(
            saved: Sequence[Tensor],
            upstream: Sequence[Tensor],
            needs: Sequence[bool],
            dtypes: Sequence[Optional[torch.dtype]],
        ) -> list[Optional[Tensor]]:
            upstream_gradients = UpstreamGradients(*upstream)
            gradients = backward(SavedForBackward(*saved), ctx.clips, ctx.batch_sizes, upstream_gradients, needs)
            return [
                None if grad is None or dtype is None else grad.to(dtype)
                for grad, dtype in zip(gradients, dtypes, strict=True)
            ]

        num_tensors = len(LstmTensors._fields)
        directions = zip(
            _grouped(ctx.saved_tensors, len(SavedForBackward._fields)),
            _grouped(grads, len(UpstreamGradients._fields)),
            _grouped(ctx.needs_input_grad[3:], num_tensors),
            _grouped(ctx.tensor_dtypes, num_tensors),
            strict=True,
        )
        with torch.autocast(grads[0].device.type, enabled=False):
            gradients = run_in_threads(
                [partial(backward_of_direction, *direction) for direction in directions], grads[0].device
            )
        return (None, None, None, *(grad for direction in gradients for grad in direction))


def _forward_in_threads(
    batch_sizes: list[int],
    clips: Clips,
    directions: Sequence[LstmTensors],
    dtypes: Sequence[torch.dtype],
    saves: bool,
) -> list[tuple[Results, Optional[SavedForBackward]]]:
    def run_direction(direction: LstmTensors, dtype: torch.dtype) -> tuple[Results, Optional[SavedForBackward]]:
        # Conversion is part of a direction's task: a large kernel takes as long to convert as a step of the LSTM.
        return forward(direction.converted(dtype), clips, batch_sizes, saves)

    tasks = [partial(run_direction, *arguments) for arguments in zip(directions, dtypes, strict=True)]
    return run_in_threads(tasks, directions[0].inputs.device)


def _grouped(values: Sequence[Any], size: int) -> list[Any]:
    return [values[start : start + size] for start in range(0, len(values), size)]
