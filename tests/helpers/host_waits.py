"""Operations for whose result the host waits, on an accelerator. They are noticed on any device."""

import traceback
from contextlib import ExitStack
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


class HostWaits:
    """Notes the function of the package that each waiting operation of this thread comes from, within a `with` block.

    Attributes:
        functions: `module.function` of each, in order.
    """

    def __init__(self) -> None:
        self.functions: list[str] = []
        self._modes = ExitStack()

    def __enter__(self) -> "HostWaits":
        self._modes.enter_context(_Operations(self))
        self._modes.enter_context(_ToHost(self))
        return self

    def __exit__(self, *error: object) -> None:
        self._modes.close()

    def note(self) -> None:
        """Note the function that runs."""
        frames = traceback.extract_stack()
        frame = next((frame for frame in reversed(frames) if "/allennlp_elmo_plus/" in frame.filename), frames[0])
        self.functions.append(f"{Path(frame.filename).stem}.{frame.name}")


class _Operations(TorchDispatchMode):
    def __init__(self, waits: HostWaits) -> None:
        super().__init__()
        self._waits = waits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func.overloadpacket
        indices = args[1] if packet in _INDEXING else ()
        if packet in _WAITING or any(index is not None and index.dtype == torch.bool for index in indices):
            self._waits.note()
        return func(*args, **(kwargs or {}))


class _ToHost(TorchFunctionMode):
    def __init__(self, waits: HostWaits) -> None:
        super().__init__()
        self._waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _TO_HOST:
            self._waits.note()
        return func(*args, **(kwargs or {}))
