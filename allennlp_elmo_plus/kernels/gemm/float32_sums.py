"""Half-precision matrix products of cuBLAS that sum in float32.

By default PyTorch lets cuBLAS split a long product and add the parts in bfloat16 or float16
(`torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction`). The LSTM's products sum over up to 16,384 values.
"""

import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Optional

import torch

# "cuda" is also the device type of ROCm.
CUBLAS_DEVICES = ("cuda",)

_FLAGS = "allow_bf16_reduced_precision_reduction", "allow_fp16_reduced_precision_reduction"
_NOTHING: AbstractContextManager[None] = nullcontext()


class _SumsInFloat32:
    """Sets both flags to False while at least one thread is inside.

    The flags are the process's, not the thread's: the first thread to enter saves them, and the last one to leave restores them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._saved: list[Any] = []

    def __enter__(self) -> None:
        with self._lock:
            if self._depth == 0:
                self._saved = [_setting(name) for name in _FLAGS]
                for name, (_, *split_k) in zip(_FLAGS, self._saved, strict=True):
                    _set(name, (False, *split_k))
            self._depth += 1

    def __exit__(self, *error: Optional[Any]) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                for name, setting in zip(_FLAGS, self._saved, strict=True):
                    _set(name, setting)


_SUMS_IN_FLOAT32 = _SumsInFloat32()


def sums_in_float32(device: torch.device) -> AbstractContextManager[None]:
    """Return a context in which products on `device` sum in float32. Launched products count, finished or not."""
    return _SUMS_IN_FLOAT32 if device.type in CUBLAS_DEVICES else _NOTHING


def _setting(name: str) -> tuple[bool, ...]:
    """Return the flag `name` and, where this PyTorch has the setting, whether products may be split at all."""
    matmul = torch.backends.cuda.matmul
    split_k = getattr(matmul, f"{name}_split_k", None)
    return (getattr(matmul, name),) if split_k is None else (getattr(matmul, name), split_k)


def _set(name: str, setting: tuple[bool, ...]) -> None:
    setattr(torch.backends.cuda.matmul, name, setting if len(setting) > 1 else setting[0])
