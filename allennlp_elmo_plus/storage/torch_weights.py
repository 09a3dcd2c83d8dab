"""Read weights.th, the state dict in an AllenNLP archive, from an untrusted source: it is checked before it is loaded."""

import io
import math
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from allennlp_elmo_plus.errors import InputError, one_line_message, truncated_repr
from allennlp_elmo_plus.storage.checked_pickle import StoredTensor, describe_state

_MAX_PICKLE_BYTES = 2**20

# The records that `torch.save` writes, in one folder. A record `constants.pkl` would make the file TorchScript, which is a program.
_KNOWN_RECORDS = re.compile(
    r"[^/]+/(data\.pkl|data/[0-9]+|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id)"
)

# The pickles of a number and of a version, with which `torch.save` before PyTorch 1.6 begins a file.
_LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."


def read_state(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return the tensors, by name, in the file that `torch.save` wrote to `path`. They are memory-mapped.

    The directory of the file and the pickle (storage/checked_pickle.py) are compared with `shapes` before any tensor is loaded.

    Args:
        path: The file.
        shapes: The name and the shape of each tensor.

    Raises:
        InputError: The file holds other tensors than `shapes`, or anything but tensors of floating-point numbers. The message
            names the tensor, not the file.
    """
    described, sizes = _describe(path, floating_only=True)
    _check_names(described, shapes)
    for name, shape in shapes.items():
        _check_tensor(name, described[name], shape, sizes.get(described[name].key))
    return _load(path, shapes)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors, by name, in the file that `torch.save` wrote to `path`, of any names, shapes and types of numbers.

    Raises:
        InputError: The file is damaged or holds anything but tensors. The message does not name the file.
    """
    described, sizes = _describe(path, floating_only=False)
    for name, tensor in described.items():
        _check_bytes(name, tensor, sizes.get(tensor.key))
    return _load(path, {name: tensor.shape for name, tensor in described.items()})


def read_legacy_state(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return the tensors in the file that `torch.save` wrote to `path`, by name, also one from before PyTorch 1.6.

    A file in the newer format, a zip file, is read by `read_state`. One in the older format, five pickles and then the numbers of each
    storage, is checked as `read_state` checks it, before any number is read. Neither this package nor `torch.load` unpickles it.

    Args:
        path: the file, which may come from an untrusted source.
        shapes: the shape of each tensor by its name; the file must hold these tensors and no others.

    Raises:
        InputError: a tensor is missing, unexpected or different; one line that names the tensor and not the file.
    """
    with open(path, "rb") as file:
        if file.read(len(_LEGACY_START)) != _LEGACY_START:
            return read_state(path, shapes)
        described, offsets = _describe_legacy(file)
    _check_names(described, shapes)
    for name, shape in shapes.items():
        tensor = described[name]
        _check_tensor(name, tensor, shape, tensor.num_stored * tensor.dtype.itemsize)
    return {name: _read_tensor(path, tensor, offsets[tensor.key]) for name, tensor in described.items()}


def _describe_legacy(file: IO[bytes]) -> tuple[dict[str, StoredTensor], dict[str, int]]:
    """Return the tensors of `file` by name, and by the key of each storage where its numbers begin in the file.

    `file` was read up to the end of `_LEGACY_START`.

    Raises:
        InputError: `file` is truncated, or holds anything else than tensors of floating-point numbers.
    """
    start = file.tell()
    pickles = io.BytesIO(file.read(_MAX_PICKLE_BYTES))
    try:
        for _ in pickletools.genops(pickles):  # The sizes of types on the machine that wrote the file.
            pass
        described = describe_state(pickles)
        keys = [str(key) for opcode, key, _ in pickletools.genops(pickles) if opcode.name == "BINUNICODE"]
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"must be a whole file that `torch.save` wrote: {one_line_message(error)}") from None
    storages: dict[str, StoredTensor] = {}
    for name, tensor in described.items():
        storage = storages.setdefault(tensor.key, tensor)
        if (storage.dtype, storage.num_stored) != (tensor.dtype, tensor.num_stored):
            raise InputError(f"`{name}` must describe the storage {tensor.key} as all tensors do that share it")
    if sorted(keys) != sorted(storages):
        raise InputError(f"must list the {len(storages)} storages of its tensors, got a list of {len(keys)} others")
    offsets: dict[str, int] = {}
    offset, file_bytes = start + pickles.tell(), file.seek(0, io.SEEK_END)
    for key in keys:
        storage = storages[key]
        file.seek(offset)
        if int.from_bytes(file.read(8), "little") != storage.num_stored:
            raise InputError(f"the storage {key} must have {storage.num_stored:,} numbers, got another count")
        offsets[key] = offset + 8
        offset += 8 + storage.num_stored * storage.dtype.itemsize
        if offset > file_bytes:
            break
    if offset != file_bytes:
        raise InputError(f"must have {offset:,} bytes, by the sizes of its tensors, got {file_bytes:,}")
    return described, offsets


def _read_tensor(path: Path, tensor: StoredTensor, offset: int) -> Tensor:
    size = tensor.dtype.itemsize
    # As bytes, because NumPy has no bfloat16.
    values = np.fromfile(path, np.uint8, math.prod(tensor.shape) * size, offset=offset + tensor.offset * size)
    return torch.from_numpy(values).view(tensor.dtype).view(tensor.shape)


def _describe(path: Path, floating_only: bool) -> tuple[dict[str, StoredTensor], dict[str, int]]:
    # The results: each tensor by its name, and the size in bytes of each record of numbers by its key.
    try:
        with zipfile.ZipFile(path) as archive:
            records = _checked_records(archive)
            folder = next(iter(records)).split("/")[0] if records else ""
            described = describe_state(_pickle_of(archive, f"{folder}/data.pkl", records), floating_only)
    except InputError:
        raise
    except Exception as error:  # For a damaged file zipfile raises errors of many types.
        raise InputError(f"must be a whole file that `torch.save` wrote: {one_line_message(error)}") from None
    prefix = f"{folder}/data/"
    return described, {name[len(prefix) :]: size for name, size in records.items() if name.startswith(prefix)}


def _load(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        loaded = {name: tuple(value.shape) for name, value in state.items()}
    except Exception as error:  # For a damaged file torch.load raises errors of many types.
        raise InputError(f"cannot be read as weights: {one_line_message(error)}") from None
    if loaded != dict(shapes):
        raise InputError("must be one file of weights, got one that reads in two ways")
    return dict(state)


def _checked_records(archive: zipfile.ZipFile) -> dict[str, int]:
    # Compressed records are refused, because they can expand to any size.
    records: dict[str, int] = {}
    for record in archive.infolist():
        name = record.filename
        if not _KNOWN_RECORDS.fullmatch(name) or name.split("/")[0] != next(iter(records), name).split("/")[0]:
            raise InputError(f"must hold the records that `torch.save` writes, got {truncated_repr(name)}")
        if name in records:
            raise InputError(f"the record {truncated_repr(name)} must be there once, got it twice")
        if record.compress_type != zipfile.ZIP_STORED or record.file_size != record.compress_size:
            raise InputError(f"the record {truncated_repr(name)} must be stored without compression")
        records[name] = record.file_size
    return records


def _pickle_of(archive: zipfile.ZipFile, name: str, records: Mapping[str, int]) -> bytes:
    if name not in records:
        raise InputError("must be a file that `torch.save` wrote, got one without `data.pkl`")
    if records[name] > _MAX_PICKLE_BYTES:
        raise InputError(f"`data.pkl` must be at most {_MAX_PICKLE_BYTES:,} bytes, got {records[name]:,}")
    return archive.read(name)


def _check_names(described: Mapping[str, StoredTensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        if name not in described:
            raise InputError(f"`{name}` must be there, with shape {shape}, by the options, got none")
    for name in described:
        if name not in shapes:
            raise InputError(
                f"must hold the weights that the options describe and no others, got {truncated_repr(name)}"
            )


def _check_tensor(name: str, tensor: StoredTensor, shape: tuple[int, ...], num_bytes: int | None) -> None:
    if tensor.shape != shape:
        raise InputError(f"`{name}` must have shape {shape} by the options, got {truncated_repr(tensor.shape)}")
    is_contiguous = len(tensor.stride) == len(shape) and all(
        size == 1 or stride == math.prod(shape[dimension + 1 :])
        for dimension, (size, stride) in enumerate(zip(shape, tensor.stride, strict=True))
    )
    if not is_contiguous or tensor.offset + math.prod(shape) > tensor.num_stored:
        raise InputError(f"`{name}` must be stored in full, row after row")
    _check_bytes(name, tensor, num_bytes)


def _check_bytes(name: str, tensor: StoredTensor, num_bytes: int | None) -> None:
    if num_bytes != tensor.num_stored * tensor.dtype.itemsize:
        raise InputError(
            f"`{name}` must have {tensor.num_stored * tensor.dtype.itemsize:,} bytes of numbers in the file, "
            f"got {num_bytes}"
        )


def check_finite(values: Tensor, name: str) -> None:
    """Check that every number of `values` is finite after conversion to float32, the type of a model's weights.

    Raises:
        InputError: A number is not finite; the message begins with `name`.
    """
    is_finite = torch.isfinite(values.float())
    if not is_finite.all():
        raise InputError(f"{name} must hold finite numbers of float32, got {values[~is_finite][0].item()}")
