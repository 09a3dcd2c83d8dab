"""Operations for whose result the host waits, on an accelerator. They are noticed on any device."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten
# Operations whose result is a number of Python, or has a size that only the values tell.
_WAITING = {
    _aten._local_scalar_dense,
    _aten.equal,
    _aten.nonzero,
    _aten.masked_select,
    _aten._unique2,
    _aten.unique_consecutive,
    _aten.unique_dim,
    _aten._coalesce,
}
_INDEXING = {_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_}
# On a CPU these run no operation.
_TO_HOST = {torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.cpu}


@contextmanager
def host_waits() -> Iterator[list[str]]:
    """Yield a list that gets the `module.function` of the package that each waiting operation of this thread comes from."""
    functions: list[str] = []

    def note() -> None:
        frames = traceback.extract_stack()
        frame = next((frame for frame in reversed(frames) if "/allennlp_elmo_plus/" in frame.filename), frames[0])
        functions.append(f"{Path(frame.filename).stem}.{frame.name}")

    class Operations(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            packet = func.overloadpacket
            indices = args[1] if packet in _INDEXING else ()
            if packet in _WAITING or any(index is not None and index.dtype == torch.bool for index in indices):
                note()
            return func(*args, **(kwargs or {}))

    class ToHost(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func in _TO_HOST:
                note()
            return func(*args, **(kwargs or {}))

    with Operations(), ToHost():
        yield functions
