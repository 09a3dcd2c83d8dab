"""Training states that `torch.load` can read with `weights_only`, which runs no code from the file."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


def with_plain_numbers(state: Any) -> Any:
    """Return `state` with Python's numbers in place of NumPy's, in dicts, lists and tuples of any depth.

    `torch.load` with `weights_only` refuses a `numpy.float64`, which some learning rate schedulers write into the optimizer's
    parameter groups. The value stays the same to the last bit.
    """
    if isinstance(state, np.generic):
        return state.item()
    # Exactly these types: a subclass may have a constructor of its own, and an `OrderedDict` of weights has no such numbers.
    if type(state) is dict:
        return {with_plain_numbers(key): with_plain_numbers(value) for key, value in state.items()}
    if type(state) in (list, tuple):
        return type(state)(with_plain_numbers(value) for value in state)
    return state


def unreadable_parts(state: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path, such as "callbacks.2.seen", and the type of each part of `state` that cannot be read back."""
    if _can_be_read_back(state):
        return
    unreadable = [
        problem
        for key, part in _parts(state)
        for problem in unreadable_parts(part, f"{name}.{key}" if name else str(key))
    ]
    # If each part can be read back, it is the container that cannot.
    yield from unreadable or [(name, type(state).__name__)]


def _parts(state: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(state, dict):
        yield from state.items()
    elif isinstance(state, (list, tuple)):
        yield from enumerate(state)


def _can_be_read_back(state: Any) -> bool:
    buffer = io.BytesIO()
    try:
        torch.save(state, buffer)
        buffer.seek(0)
        torch.load(buffer, map_location="cpu", weights_only=True)
    except Exception:  # The error depends on the object.
        return False
    return True
