"""Read the tensors of a TensorFlow checkpoint (format V2) without TensorFlow.

The checkpoint `PREFIX` has two kinds of files:

- `PREFIX.index`, a table of LevelDB: blocks of sorted keys. A key is the name of a tensor. Its value is a protocol buffer
  `BundleEntryProto`: type, shape, place and checksum of the tensor. The value of the empty key is a `BundleHeaderProto`.
- `PREFIX.data-00000-of-00001`, and more where the checkpoint has several shards: the numbers of the tensors.

Blocks and tensors have a CRC-32C. The package google-crc32c computes it at more than 2 GB/s. The files may come from an untrusted
source: each length is compared with the size of its file before memory is taken.
"""

import math
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Union

import google_crc32c
import numpy as np

from allennlp_elmo_plus.errors import InputError, truncated_repr

INDEX_SUFFIX = ".index"

# A biLM has about a hundred tensors, each of a hundred bytes in the index.
_MAX_INDEX_BYTES = 2**20
_MAX_KEY_BYTES = 1024
_MAX_TENSORS = 10_000

_FOOTER_BYTES = 48
_MAGIC = bytes.fromhex("57fb808b247547db")
_TRAILER_BYTES = 5  # the kind of compression and the checksum
_NO_COMPRESSION = 0

# By their numbers in TensorFlow's `DataType`.
_DTYPES: dict[int, np.dtype] = {1: np.dtype("<f4"), 3: np.dtype("<i4"), 9: np.dtype("<i8")}

# The wire types of protocol buffers.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _DamagedError(Exception):
    """A part of an index that cannot be read."""


class _Entry(NamedTuple):
    """A tensor as the index describes it."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    is_sliced: bool


class TensorFlowCheckpoint:
    """The tensors of a checkpoint by their names. Only the index is read before `read` is called.

    Args:
        prefix: the path of the files up to `.index` and `.data-`.

    Raises:
        InputError: the index cannot be read, is damaged, is over 1 MiB, or is of a big-endian machine.
    """

    def __init__(self, prefix: Path) -> None:
        self._prefix = prefix
        self._index = f"{prefix}{INDEX_SUFFIX}"
        try:
            with open(self._index, "rb") as file:
                content = file.read(_MAX_INDEX_BYTES + 1)
        except OSError as error:
            raise InputError(f"{self._index}: cannot be read: {error.strerror or error}") from None
        if len(content) > _MAX_INDEX_BYTES:
            raise InputError(f"{self._index}: must be at most {_MAX_INDEX_BYTES:,} bytes, got more")
        try:
            values = _parse_table(content)
            self._num_shards, is_big_endian = _integers(values.pop("", b""), 1, 2)
            self._entries = {name: _parse_entry(value) for name, value in values.items()}
        except (_DamagedError, struct.error, UnicodeDecodeError) as error:
            raise InputError(
                f"{self._index}: must be the whole index of a TensorFlow checkpoint (V2): {error}"
            ) from None
        if is_big_endian:
            raise InputError(f"{self._index}: must be of a little-endian machine, got a big-endian one")

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each tensor by name, as the index has it: not compared with the data yet."""
        return {name: entry.shape for name, entry in self._entries.items()}

    def read(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
        """Return the tensors that `shapes` names. All are checked before the first is read.

        Args:
            shapes: the shape that each tensor must have, by name.

        Raises:
            InputError: a tensor, which is named, is missing, is not of the shape, is not of float32, int32 or int64, or is
                damaged.
        """
        entries = {name: self._require(name, shape) for name, shape in shapes.items()}
        paths = {entry.shard: self._data_path(entry.shard) for entry in entries.values()}
        file_bytes = {shard: _file_size(path) for shard, path in paths.items()}
        for name, entry in entries.items():
            if entry.offset + entry.size > file_bytes[entry.shard]:
                raise InputError(
                    f"{paths[entry.shard]}: must have {entry.offset + entry.size:,} bytes for `{name}`, "
                    f"got {file_bytes[entry.shard]:,}; it may be truncated"
                )
        # A small file could be one tensor under many names, and reading it would then take much memory.
        num_bytes = sum(entry.size for entry in entries.values())
        if num_bytes > sum(file_bytes.values()):
            raise InputError(
                f"{self._index}: the tensors must be stored apart, {num_bytes:,} bytes, got {sum(file_bytes.values()):,}"
            )
        return {name: _read_tensor(paths[entry.shard], name, entry) for name, entry in entries.items()}

    def _require(self, name: str, shape: tuple[int, ...]) -> _Entry:
        if name not in self._entries:
            raise InputError(f"{self._index}: tensor `{name}` is missing; expected shape {shape}")
        entry, source = self._entries[name], f"{self._index}: tensor `{name}`"
        if entry.is_sliced:
            raise InputError(f"{source} must be stored in one piece, got slices")
        if entry.dtype not in _DTYPES:
            raise InputError(f"{source} must have type 1 (float32), 3 (int32) or 9 (int64), got {entry.dtype}")
        if entry.shape != shape:
            raise InputError(f"{source} must have shape {shape} by the options, got {truncated_repr(entry.shape)}")
        num_bytes = math.prod(shape) * _DTYPES[entry.dtype].itemsize
        if entry.size != num_bytes:
            raise InputError(f"{source} must have {num_bytes:,} bytes by its shape, got {entry.size:,}")
        return entry

    def _data_path(self, shard: int) -> str:
        return f"{self._prefix}.data-{shard:05d}-of-{self._num_shards:05d}"


def _file_size(path: str) -> int:
    if not os.path.isfile(path):
        raise InputError(f"{path}: there is no such file, which the index beside it names")
    return os.path.getsize(path)


def _read_tensor(path: str, name: str, entry: _Entry) -> np.ndarray:
    dtype = _DTYPES[entry.dtype]
    try:
        values = np.fromfile(path, dtype, entry.size // dtype.itemsize, offset=entry.offset)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    if google_crc32c.value(values) != _unmasked(entry.checksum):
        raise InputError(f"{path}: `{name}` must have the checksum that is in the index, got another: it is damaged")
    return values.reshape(entry.shape).astype(dtype.newbyteorder("="), copy=False)


def _parse_table(content: bytes) -> dict[str, bytes]:
    """Return the values of the LevelDB table `content` by their keys.

    Raises:
        _DamagedError: the table is damaged, compressed, or has more than 10,000 keys.
    """
    footer = content[-_FOOTER_BYTES:]
    if len(footer) != _FOOTER_BYTES or not footer.endswith(_MAGIC):
        raise _DamagedError("it does not end as such a file")
    *_, index_offset, index_size = _varints(footer, 0, 4)[0]
    values: dict[str, bytes] = {}
    end_of_last = 0
    for _, handle in _block_items(content, index_offset, index_size):
        offset, size = _varints(handle, 0, 2)[0]
        # So that no block is read more than once.
        if offset < end_of_last:
            raise _DamagedError("its blocks are not in the order of the file")
        end_of_last = offset + size
        for key, value in _block_items(content, offset, size):
            values[key.decode("utf-8")] = value
            if len(values) > _MAX_TENSORS:
                raise _DamagedError(f"it has more than {_MAX_TENSORS:,} tensors")
    return values


def _block_items(content: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and the values of one block.

    Raises:
        _DamagedError: the checksum of the block differs, or the block is compressed or damaged.
    """
    block = _slice(content, offset, size + _TRAILER_BYTES)
    if google_crc32c.value(block[: size + 1]) != _unmasked(int.from_bytes(block[size + 1 :], "little")):
        raise _DamagedError("a block does not have its checksum")
    if block[size] != _NO_COMPRESSION:
        raise _DamagedError("a block is compressed, and TensorFlow compresses none")
    # The list of restarts after the entries is for binary search, its length comes last.
    (num_restarts,) = struct.unpack_from("<I", _slice(block, size - 4, 4))
    end = size - 4 - 4 * num_restarts
    position, key = 0, b""
    while position < end:
        (num_shared, num_unshared, num_value), position = _varints(block, position, 3)
        if num_shared > len(key) or num_shared + num_unshared > _MAX_KEY_BYTES:
            raise _DamagedError(f"a key is longer than {_MAX_KEY_BYTES} bytes, or shares more than the last one has")
        key = key[:num_shared] + _slice(block, position, num_unshared)
        position += num_unshared
        yield key, _slice(block, position, num_value)
        position += num_value


def _parse_entry(message: bytes) -> _Entry:
    fields = _fields(message)
    dimensions = [size for number, size in _fields(_bytes_of(fields, 2)) if number == 2]
    shape = tuple(_integers(dimension, 1)[0] for dimension in dimensions if isinstance(dimension, bytes))
    dtype, shard, offset, size, checksum = _integers(message, 1, 3, 4, 5, 6)
    return _Entry(dtype, shape, shard, offset, size, checksum, any(number == 7 for number, _ in fields))


def _bytes_of(fields: list[tuple[int, Union[int, bytes]]], number: int) -> bytes:
    return b"".join(value for key, value in fields if key == number and isinstance(value, bytes))


def _integers(message: bytes, *numbers: int) -> list[int]:
    """Return the integers in the fields `numbers` of a protocol buffer, 0 for a field that is left out."""
    integers = {number: value for number, value in _fields(message) if isinstance(value, int)}
    return [integers.get(number, 0) for number in numbers]


def _fields(message: bytes) -> list[tuple[int, Union[int, bytes]]]:
    """Return the number and the value, an integer or bytes, of each field of a protocol buffer.

    Raises:
        _DamagedError: the message is damaged.
    """
    fields: list[tuple[int, Union[int, bytes]]] = []
    position = 0
    while position < len(message):
        (tag,), position = _varints(message, position, 1)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            (value,), position = _varints(message, position, 1)
            fields.append((number, value))
            continue
        if wire_type == _BYTES:
            (size,), position = _varints(message, position, 1)
        elif wire_type in (_FIXED32, _FIXED64):
            size = 4 if wire_type == _FIXED32 else 8
        else:
            raise _DamagedError(f"a field has the unknown type {wire_type}")
        data = _slice(message, position, size)
        position += size
        fields.append((number, data if wire_type == _BYTES else int.from_bytes(data, "little")))
    return fields


def _varints(data: bytes, position: int, count: int) -> tuple[list[int], int]:
    """Return `count` integers, stored from `position` on in 7 bits per byte, lowest first, and the position after them.

    Raises:
        _DamagedError: an integer has no end, or more than 64 bits.
    """
    integers = []
    for _ in range(count):
        integer, shift, byte = 0, 0, 0x80
        while byte & 0x80:
            if position >= len(data) or shift > 63:
                raise _DamagedError("a number has no end")
            byte = data[position]
            integer |= (byte & 0x7F) << shift
            position, shift = position + 1, shift + 7
        integers.append(integer)
    return integers, position


def _slice(data: bytes, offset: int, size: int) -> bytes:
    if offset < 0 or offset + size > len(data):
        raise _DamagedError(f"{size:,} bytes from byte {offset:,} on are not all there")
    return data[offset : offset + size]


def _unmasked(checksum: int) -> int:
    """Return the CRC-32C that LevelDB has rotated and shifted to store it beside the data."""
    rotated = (checksum - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF
