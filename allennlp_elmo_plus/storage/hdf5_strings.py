"""Read the strings of a dataset in an HDF5 file from an untrusted source.

Strings of variable length are stored in heaps; the dataset holds a reference to each. This module reads the heaps itself, because
the HDF5 library may loop forever over a damaged heap. The format is that of the HDF5 File Format Specification 3.0, section III.E.
"""

import os
import struct
from collections.abc import Mapping

import h5py
import numpy as np

from allennlp_elmo_plus.errors import InputError, truncated_repr
from allennlp_elmo_plus.storage.checked_hdf5 import check_in_file, check_stored

_REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
_HEAP = struct.Struct("<4sB3xQ")  # signature, version, size of the heap with this header in bytes
_OBJECT = struct.Struct("<HHIQ")  # index, references, reserved, size in bytes, which is padded to a multiple of 8


def read_strings(dataset: h5py.Dataset) -> list[str]:
    """Return the UTF-8 strings in `dataset`, of one dimension.

    Raises:
        InputError: The dataset is not stored as h5py stores strings, a string is not UTF-8, or the strings or their heaps claim
            to be larger than the file, because many references point to the same string.
    """
    name = dataset.name.lstrip("/")
    check_in_file(dataset)
    kind = h5py.check_string_dtype(dataset.dtype)
    if kind is None or len(dataset.shape or ()) != 1:
        raise InputError(f"dataset `{name}` must hold strings in one dimension, got {truncated_repr(dataset.dtype)}")
    check_stored(dataset, _REFERENCE.itemsize if kind.length is None else kind.length)
    content = dataset[...].tolist() if kind.length is not None else _read_from_heaps(dataset, name)
    try:
        return [word.decode("utf-8") for word in content]
    except UnicodeDecodeError:
        raise InputError(f"dataset `{name}` must hold words in UTF-8") from None


def _read_from_heaps(dataset: h5py.Dataset, name: str) -> list[bytes]:
    file, offset = dataset.file, dataset.id.get_offset()
    has_default_sizes = file.id.get_create_plist().get_sizes() == (8, 8) and file.userblock_size == 0
    if not has_default_sizes or offset is None or dataset.id.get_storage_size() != len(dataset) * _REFERENCE.itemsize:
        raise InputError(f"dataset `{name}` must be stored contiguously, as h5py does")
    file_bytes = os.path.getsize(file.filename)
    references = np.fromfile(file.filename, _REFERENCE, len(dataset), offset=offset)
    num_bytes = int(references["length"].sum(dtype=np.int64))
    if num_bytes > file_bytes:
        raise InputError(
            f"dataset `{name}` must have strings stored apart, {num_bytes:,} bytes, got a file of {file_bytes:,}"
        )
    heaps: dict[int, Mapping[int, bytes]] = {}
    heap_bytes = 0
    with open(file.filename, "rb") as raw:
        for address in np.unique(references["address"][references["length"] > 0]).tolist():
            raw.seek(min(address, file_bytes))
            heap = raw.read(_HEAP.size)
            signature, version, size = _HEAP.unpack(heap) if len(heap) == _HEAP.size else (b"", 0, 0)
            heap_bytes += size
            if (signature, version) != (b"GCOL", 1) or heap_bytes > file_bytes:
                raise InputError(
                    f"dataset `{name}` must have its strings in whole heaps of the file, got a damaged one"
                )
            heaps[address] = _objects(raw.read(size - _HEAP.size))
    strings = []
    for length, address, index in references.tolist():
        string = heaps[address].get(index, b"") if length else b""
        if len(string) != length:
            raise InputError(f"dataset `{name}` must have each of its strings in the file, got one that is missing")
        strings.append(string)
    return strings


def _objects(heap: bytes) -> dict[int, bytes]:
    """Return the objects of a heap by their index."""
    objects: dict[int, bytes] = {}
    start = 0
    while start + _OBJECT.size <= len(heap):
        index, _, _, size = _OBJECT.unpack_from(heap, start)
        start += _OBJECT.size
        # The index of free space, which is at the end.
        if index == 0:
            break
        objects[index] = heap[start : start + size]
        start += -(-size // 8) * 8
    return objects
