"""Write small TensorFlow checkpoints (format V2): whole ones, and ones with an index that lies."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Union

import google_crc32c
import numpy as np

MAGIC = 0xDB4775248B80FB57
DTYPES = {"float32": 1, "int32": 3, "int64": 9, "float64": 2}

# The fields of a BundleEntryProto by name.
FIELDS = {"dtype": 1, "shape": 2, "shard": 3, "offset": 4, "size": 5, "checksum": 6, "slices": 7}

Entry = dict[str, Union[int, bytes]]


def write_checkpoint(prefix: Path, shards: Sequence[Mapping[str, np.ndarray]], **changes: Entry) -> None:
    """Write the tensors of each of `shards` to a data file, and the index of all. `changes` replace fields of tensors by name."""
    for number, tensors in enumerate(shards):
        data = b"".join(array.tobytes() for array in tensors.values())
        Path(f"{prefix}.data-{number:05d}-of-{len(shards):05d}").write_bytes(data)
    Path(f"{prefix}.index").write_bytes(packed_table(packed_items(shards, **changes)))


def packed_items(shards: Sequence[Mapping[str, np.ndarray]], **changes: Entry) -> list[tuple[bytes, bytes]]:
    """Return the keys and the values of the index of `shards`, sorted."""
    entries: dict[str, Entry] = {}
    for number, tensors in enumerate(shards):
        offset = 0
        for name, array in tensors.items():
            entries[name] = {
                "dtype": DTYPES[array.dtype.name],
                "shape": packed_shape(array.shape),
                "shard": number,
                "offset": offset,
                "size": array.nbytes,
                "checksum": masked(google_crc32c.value(array.tobytes())),
                **changes.get(name, {}),
            }
            offset += array.nbytes
    return [(b"", header(len(shards))), *((name.encode(), packed_entry(entries[name])) for name in sorted(entries))]


def header(num_shards: int, endianness: int = 0) -> bytes:
    return field(1, num_shards) + field(2, endianness) + field(3, field(1, 1))


def packed_entry(entry: Entry) -> bytes:
    return b"".join(field(FIELDS[name], value, name == "checksum") for name, value in entry.items())


def packed_shape(shape: tuple[int, ...]) -> bytes:
    return b"".join(field(2, field(1, size)) for size in shape)


def packed_table(items: list[tuple[bytes, bytes]], per_block: int = 8) -> bytes:
    """Return a LevelDB table of `items`, in the order given, `per_block` in each block."""
    parts = [items[first : first + per_block] for first in range(0, len(items), per_block)]
    return sealed_table([(part[-1][0], packed_block(part)) for part in parts])


def packed_block(items: list[tuple[bytes, bytes]], restart_every: int = 4) -> bytes:
    """Return the entries of a block, keys without what they share with the key before, and the list of restarts."""
    block, restarts, last = b"", [], b""
    for number, (key, value) in enumerate(items):
        shared = 0
        if number % restart_every == 0:
            restarts.append(len(block))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        block += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    return block + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def sealed_table(blocks: list[tuple[bytes, bytes]], compression: int = 0) -> bytes:
    """Return the table of `blocks`, each with its last key: with their checksums, the index block and the footer."""
    content, handles = b"", []
    for last_key, block in blocks:
        handles.append((last_key, varint(len(content)) + varint(len(block))))
        content += sealed(block, compression)
    meta, index = packed_block([]), packed_block(handles)
    content += sealed(meta)
    return content + sealed(index) + footer(len(content), len(index))


def footer(index_offset: int, index_size: int) -> bytes:
    """Return the end of a table, which says where the index block is."""
    return (varint(0) * 2 + varint(index_offset) + varint(index_size)).ljust(40, b"\0") + struct.pack("<Q", MAGIC)


def sealed(block: bytes, compression: int = 0) -> bytes:
    content = block + bytes([compression])
    return content + struct.pack("<I", masked(google_crc32c.value(content)))


def field(number: int, value: Union[int, bytes], is_fixed: bool = False) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3 | 5) + struct.pack("<I", value) if is_fixed else varint(number << 3) + varint(value)


def varint(value: int) -> bytes:
    result = b""
    while value > 0x7F:
        result, value = result + bytes([value & 0x7F | 0x80]), value >> 7
    return result + bytes([value])


def masked(checksum: int) -> int:
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
