"""Fingerprints of weights: short values that change when any value of a weight does, whatever changed it.

`Tensor._version` cannot tell: `parameter.data.copy_`, `parameter.data.mul_`, NumPy views and PyTorch's fused optimizers write to a
weight and leave its version as it was. So the values themselves are read.
"""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Union

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from allennlp_elmo_plus.kernels.backend import run

# Words of 8 bytes in a row of keys: as long as a page of memory.
COLUMNS = 512
_ROWS = 8

Fingerprint = tuple[tuple[torch.dtype, torch.device, torch.Size, int], ...]


def fingerprint(tensors: Iterable[Tensor]) -> Fingerprint:
    """Return type, device, shape and a hash of 64 bits of each of `tensors`.

    A change of values leaves the hash as it was with a chance of about 2 ** -32.
    """
    tensors = [tensor.detach() for tensor in tensors]
    hashes = [_hash(tensor) for tensor in tensors]
    # One transfer from an accelerator for all of them.
    on_device = [value for value in hashes if isinstance(value, Tensor)]
    from_device = iter(torch.stack(on_device).tolist() if on_device else ())
    return tuple(
        (tensor.dtype, tensor.device, tensor.shape, next(from_device) if isinstance(value, Tensor) else value)
        for tensor, value in zip(tensors, hashes, strict=True)
    )


def _hash(tensor: Tensor) -> Union[int, Tensor]:
    implementations: dict[str, Callable[[], Union[int, Tensor]]] = {
        "numba": lambda: _numba_hash(tensor),
        "torch": lambda: _torch_hash(tensor),
    }
    return run("fingerprint", tensor, implementations)


def _numba_hash(tensor: Tensor) -> int:
    from allennlp_elmo_plus.kernels.fingerprint import _numba_kernels

    return int(_numba_kernels.fingerprint(_padded_bytes(tensor, 8).numpy().view(np.uint64), _keys()))


def _torch_hash(tensor: Tensor) -> Tensor:
    # Multilinear hashing: the sum of the words, each times a random key of its column and its row.
    words = _padded_bytes(tensor, 4 * COLUMNS).view(torch.int32).view(-1, COLUMNS)
    keys = _signed_keys(tensor.device)
    row_keys = (2 * torch.arange(len(words), device=tensor.device) + 1) * keys[0]
    return ((words * keys).sum(1) * row_keys).sum()


def _padded_bytes(tensor: Tensor, unit: int) -> Tensor:
    """Return the bytes of `tensor`, (N,) uint8, and zeros up to a multiple of `unit`; without a copy where that is possible."""
    values = tensor.contiguous().view(-1).view(torch.uint8)
    if len(values) % unit or values.data_ptr() % 8:
        return F.pad(values, (0, -len(values) % unit))
    return values


@cache
def _keys() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2**64, size=(_ROWS, COLUMNS), dtype=np.uint64)


@cache
def _signed_keys(device: torch.device) -> Tensor:
    # Odd, so that no change of a single word is lost.
    return torch.from_numpy((_keys()[0] | np.uint64(1)).view(np.int64)).to(device)
