"""Replay of a differentiable function as two CUDA graphs: all launches of its forward pass at once, and all of its backward pass.

A recurrence launches about a thousand small kernels per batch; to launch one takes as long as to run it. PyTorch captures and replays
(`torch.cuda.make_graphed_callables`). This module decides which calls may be replayed, and copies all tensors that a later replay
would overwrite.
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
# A shape is captured when it comes this many times in a row: a single window at the end of a text is not worth a graph's memory.
SIGHTINGS = 3
# A replay does the same arithmetic, but the library may choose another algorithm for a product while it is captured. Where products
# are rounded to half precision, another order of summation moves values over a clip and so switches gradients off or on. With active
# clips the difference was 0.014 to 0.058 of the norm; a graph that reads the wrong memory differs by about 1.
_TOLERANCE = 1e-2
_HALF_TOLERANCE = 1e-1
_HALF_TYPES = (torch.bfloat16, torch.float16)


class GraphCapture:
    """Runs functions, and captures the first function whose shapes come `SIGHTINGS` times in a row.

    Only one function is captured, since a graph keeps all of its memory. A call is replayed if it is on a GPU, needs a gradient, and
    the backward pass of the last replay is over or can never come: the graphs have memory for one. Every other call runs as usual. If
    capturing fails, or if the first replay's results or gradients differ from the function's, all calls run as usual from then on,
    and a warning is logged.
    """

    def __init__(self) -> None:
        self._last_key: Hashable = None
        self._sightings = 0
        self._captured: Optional[tuple[Hashable, Function]] = None
        self._given_up = False
        self._pending: Optional[weakref.ref[_Pending]] = None

    def __call__(self, function: Function, key: Hashable, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return `function(*tensors)`; `key` is everything else that the function depends on."""
        if self._given_up or not _may_capture(tensors):
            return function(*tensors)
        key = (key, *((tensor.shape, tensor.dtype, tensor.device, tensor.requires_grad) for tensor in tensors))
        if self._captured is None:
            # Only the last shape is remembered, because there is no limit to the shapes of sentences.
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
        """`captured`, `given up` or `not yet`: whether calls are replayed."""
        return "given up" if self._given_up else "not yet" if self._captured is None else "captured"

    def __deepcopy__(self, memo: Any) -> "GraphCapture":
        return GraphCapture()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        # A graph belongs to its process and to the tensors that it was captured with.
        return GraphCapture, ()

    def _replay(self, replay: Function, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        pending = _Pending()
        self._pending = weakref.ref(pending)
        entering = (_Enter.apply(tensor) if tensor.requires_grad else tensor for tensor in tensors)
        return _Leave.apply(pending, *replay(*entering))  # type: ignore[no-any-return]

    def _capture(self, function: Function, key: Hashable, tensors: tuple[Tensor, ...]) -> bool:
        """Return whether replays of `function` may be used, after an attempt to capture it."""
        samples = tuple(tensor.detach().clone().requires_grad_(tensor.requires_grad) for tensor in tensors)
        try:
            replay: Any = torch.cuda.make_graphed_callables(function, samples)
            difference = _largest_difference(*(_results_and_gradients(run, tensors) for run in (function, replay)))
        except Exception as error:
            # Errors of PyTorch, of Triton's compiler, of the driver, and failed assertions in any of them.
            logger.warning(
                "A recurrence cannot be captured as a CUDA graph, and runs step by step: %s: %s",
                type(error).__name__,
                error,
            )
            self._given_up = True
            return False
        is_half = any(tensor.dtype in _HALF_TYPES for tensor in tensors)
        if not difference <= (_HALF_TOLERANCE if is_half else _TOLERANCE):
            logger.warning("A CUDA graph differs from what it captured by %.2g, and is not used", difference)
            self._given_up = True
            return False
        self._captured = key, replay
        return True


class _Pending:
    """An object that the autograd graph of a replay holds until its backward pass has run."""


class _Enter(torch.autograd.Function):
    """The identity; its gradient is a copy, because a parameter may keep a gradient that the next replay would overwrite."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return tensor.view_as(tensor)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.clone()


class _Leave(torch.autograd.Function):
    """Copies of the results; holds a `_Pending` until the backward pass."""

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
    # Equal values, or values that add up to 0, could hide an error.
    upstream = [torch.linspace(-1, 2, result.numel(), device=result.device).view_as(result) for result in results]
    trained = [leaf for leaf in leaves if leaf.requires_grad]
    gradients = torch.autograd.grad(results, trained, [grad.to(result) for grad, result in zip(upstream, results)])
    return [tensor.detach().clone() for tensor in (*results, *gradients)]


def _largest_difference(ones: list[Tensor], others: list[Tensor]) -> float:
    """Return the largest relative difference, in norm; NaN if any value is NaN."""
    differences = [
        (one - other).double().norm() / one.double().norm().clamp(min=1e-30)
        for one, other in zip(ones, others, strict=True)
    ]
    # Python's `max` would ignore NaN.
    return float(torch.stack(differences).max())
