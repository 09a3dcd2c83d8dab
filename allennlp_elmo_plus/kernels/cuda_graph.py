"""A differentiable function of constant shapes, replayed as two CUDA graphs: all launches of its forward pass at once, and all of its
backward.

A recurrence launches some thousand small kernels a batch, each of which takes the processor about as long to launch as the GPU
to run. PyTorch captures and replays (`torch.cuda.make_graphed_callables`); what it leaves to its callers is done here: which calls
may be replayed, and that nothing which a later replay overwrites gets out.
"""

import logging
import weakref
from collections.abc import Callable, Hashable
from typing import Any, Optional

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

logger = logging.getLogger(__name__)

Function = Callable[..., tuple[Tensor, ...]]
# A shape is captured when it comes for this time in a row: the odd window at the end of a text is not worth its memory.
SIGHTINGS = 3
# A replay does the same arithmetic; the library may choose another algorithm for a product while it is captured. Where products
# are rounded to a half type, another order of their sums moves values over a clip and turns gradients off or on. With clips active
# the difference was 0.014 to 0.058 of the norm; a graph that reads the wrong memory is off by about 1.
_TOLERANCE = 1e-2
_HALF_TOLERANCE = 1e-1
_HALF_TYPES = (torch.bfloat16, torch.float16)


class GraphCapture:
    """Runs functions, and captures the first whose shapes come `SIGHTINGS` times in a row: one, since a graph keeps all of its memory.

    A call is replayed on a GPU, with a gradient to compute, once the backward pass of the replay before is over or can never come:
    the graphs have memory for one. Every other call runs as it is. So does everything from then on if capturing fails, or
    if the first replay's results or gradients are not those of the function itself; the log says so.
    """

    def __init__(self) -> None:
        self._last_key: Hashable = None
        self._sightings = 0
        self._captured: Optional[tuple[Hashable, Function]] = None
        self._given_up = False
        self._pending: Optional[weakref.ref[_Pending]] = None

    def __call__(self, function: Function, key: Hashable, *tensors: Tensor) -> tuple[Tensor, ...]:
        """`function(*tensors)`. `key`: whatever else the function depends on."""
        if self._given_up or not _may_capture(tensors):
            return function(*tensors)
        key = (key, *((tensor.shape, tensor.dtype, tensor.device, tensor.requires_grad) for tensor in tensors))
        if self._captured is None:
            # Only the last is remembered: sentences come in shapes without end.
            self._sightings = self._sightings + 1 if key == self._last_key else 1
            self._last_key = key
            if self._sightings < SIGHTINGS or not self._capture(function, key, tensors):
                return function(*tensors)
        assert self._captured is not None
        captured_key, replay = self._captured
        if key != captured_key or (self._pending is not None and self._pending() is not None):
            return function(*tensors)
        return self._replay(replay, tensors)

    @property
    def state(self) -> str:
        """Whether calls are replayed by now, for those who look at a run: "captured", "given up" or "not yet"."""
        return "given up" if self._given_up else "not yet" if self._captured is None else "captured"

    def __deepcopy__(self, memo: Any) -> "GraphCapture":
        return GraphCapture()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """A graph is bound to its process and to the tensors it was captured with."""
        return GraphCapture, ()

    def _replay(self, replay: Function, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        pending = _Pending()
        self._pending = weakref.ref(pending)
        entering = (_Enter.apply(tensor) if tensor.requires_grad else tensor for tensor in tensors)
        return _Leave.apply(pending, *replay(*entering))  # type: ignore[no-any-return]

    def _capture(self, function: Function, key: Hashable, tensors: tuple[Tensor, ...]) -> bool:
        """Whether replays may be used from here on."""
        samples = tuple(tensor.detach().clone().requires_grad_(tensor.requires_grad) for tensor in tensors)
        try:
            replay: Any = torch.cuda.make_graphed_callables(function, samples)
            apart = _furthest_apart(*(_results_and_gradients(run, tensors) for run in (function, replay)))
        except Exception as error:
            # Of any kind: PyTorch's own, those of Triton's compiler and driver, a failed assertion in either.
            logger.warning(
                "A recurrence cannot be captured as a CUDA graph, and runs step by step: %s: %s",
                type(error).__name__,
                error,
            )
            self._given_up = True
            return False
        is_half = any(tensor.dtype in _HALF_TYPES for tensor in tensors)
        if not apart <= (_HALF_TOLERANCE if is_half else _TOLERANCE):
            logger.warning("A CUDA graph differs from what it captured by %.2g, and is not used", apart)
            self._given_up = True
            return False
        self._captured = key, replay
        return True


class _Pending:
    """Held by the autograd graph of a replay until its backward pass has run: alive, its activations are still needed."""


class _Enter(torch.autograd.Function):
    """Hands out a copy of the gradient: parameters may keep theirs, which the next replay would overwrite."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return tensor.view_as(tensor)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.clone()


class _Leave(torch.autograd.Function):
    """Hands out copies of the results, and knows whether their backward pass is still to come."""

    @staticmethod
    def forward(ctx: Any, pending: _Pending, *results: Tensor) -> tuple[Tensor, ...]:
        ctx.pending = pending
        return tuple(result.clone() for result in results)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Optional[Tensor], ...]:
        if ctx.pending is None:
            raise RuntimeError("a captured recurrence can be differentiated only once")
        ctx.pending = None
        return (None, *grads)


def _may_capture(tensors: tuple[Tensor, ...]) -> bool:
    return (
        tensors[0].device.type == "cuda"
        and torch.is_grad_enabled()
        and any(tensor.requires_grad for tensor in tensors)
        and not torch.cuda.is_current_stream_capturing()
    )


def _results_and_gradients(run: Function, tensors: tuple[Tensor, ...]) -> list[Tensor]:
    leaves = tuple(tensor.detach().requires_grad_(tensor.requires_grad) for tensor in tensors)
    results = run(*leaves)
    # Values that differ, and do not add up to 0: either could hide what is wrong.
    upstream = [torch.linspace(-1, 2, result.numel(), device=result.device).view_as(result) for result in results]
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    gradients = torch.autograd.grad(results, wanted, [grad.to(result) for grad, result in zip(upstream, results)])
    return [tensor.detach().clone() for tensor in (*results, *gradients)]


def _furthest_apart(ones: list[Tensor], others: list[Tensor]) -> float:
    """The greatest norm of a difference, over the norm; NaN if any of them is."""
    apart = [
        (one - other).double().norm() / one.double().norm().clamp(min=1e-30)
        for one, other in zip(ones, others, strict=True)
    ]
    # Not `max` of Python, for which NaN is no greater than any number.
    return float(torch.stack(apart).max())
