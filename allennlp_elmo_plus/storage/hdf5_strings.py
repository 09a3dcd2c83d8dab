"""The strings in a dataset of an HDF5 file that a stranger made.

Strings of any length lie in heaps of the file, and a dataset holds a reference to each. The heaps are read here and not by the
HDF5 library, which on a damaged heap may compute for ever. The format: HDF5 File Format Specification 3.0, section III.E.
"""

import os
import struct
from collections.abc import Mapping

import h5py
import numpy as np

from allennlp_elmo_plus.errors import InputError, truncated_repr
from allennlp_elmo_plus.storage.checked_hdf5 import check_place, check_storage

_REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
_HEAP = struct.Struct("<4sB3xQ")  # signature, version, bytes of the heap with this header
_OBJECT = struct.Struct("<HHIQ")  # index, references, reserved, bytes of the object, which are filled up to eight


def read_strings(dataset: h5py.Dataset) -> list[str]:
    """The strings in `dataset`, of one dimension, in UTF-8.

    Raises InputError where it is stored in another way than h5py does, and where the strings or their heaps together claim to
    be larger than the file: many references may lead to one place.
    """
    name = dataset.name.lstrip("/")
    check_place(dataset)
    kind = h5py.check_string_dtype(dataset.dtype)
    if kind is None or len(dataset.shape or ()) != 1:
        raise InputError(f"dataset `{name}` must hold strings in one dimension, got {truncated_repr(dataset.dtype)}")
    check_storage(dataset, _REFERENCE.itemsize if kind.length is None else kind.length)
    content = dataset[...].tolist() if kind.length is not None else _read_from_heaps(dataset, name)
    try:
        return [word.decode("utf-8") for word in content]
    except UnicodeDecodeError:
        raise InputError(f"dataset `{name}` must hold words in UTF-8") from None


def _read_from_heaps(dataset: h5py.Dataset, name: str) -> list[bytes]:
    file, offset = dataset.file, dataset.id.get_offset()
    is_usual = file.id.get_create_plist().get_sizes() == (8, 8) and file.userblock_size == 0
    if not is_usual or offset is None or dataset.id.get_storage_size() != len(dataset) * _REFERENCE.itemsize:
        raise InputError(f"dataset `{name}` must be stored contiguously, as h5py does")
    in_file = os.path.getsize(file.filename)
    references = np.fromfile(file.filename, _REFERENCE, len(dataset), offset=offset)
    num_bytes = int(references["length"].sum(dtype=np.int64))
    if num_bytes > in_file:
        raise InputError(
            f"dataset `{name}` must have strings stored apart, {num_bytes:,} bytes, got a file of {in_file:,}"
        )
    heaps: dict[int, Mapping[int, bytes]] = {}
    heap_bytes = 0
    with open(file.filename, "rb") as raw:
        for address in np.unique(references["address"][references["length"] > 0]).tolist():
            raw.seek(min(address, in_file))
            heap = raw.read(_HEAP.size)
            signature, version, size = _HEAP.unpack(heap) if len(heap) == _HEAP.size else (b"", 0, 0)
            heap_bytes += size
            if (signature, version) != (b"GCOL", 1) or heap_bytes > in_file:
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
    """The objects of a heap by their index."""
    objects: dict[int, bytes] = {}
    start = 0
    while start + _OBJECT.size <= len(heap):
        index, _, _, size = _OBJECT.unpack_from(heap, start)
        start += _OBJECT.size
        # The free space at the end.
        if index == 0:
            break
        objects[index] = heap[start : start + size]
        start += -(-size // 8) * 8
    return objects
