"""Read datasets of an HDF5 file from an untrusted source: each is checked first, and no other file is opened."""

import contextlib
import math
import os
from collections.abc import Collection, Iterator
from typing import Optional, Union

import h5py
import numpy as np

from allennlp_elmo_plus.errors import InputError, one_line_message, truncated_repr


@contextlib.contextmanager
def open_hdf5(path: Union[str, "os.PathLike[str]"], content: str = "weights") -> Iterator[h5py.File]:
    """Yield the HDF5 file at `path`, opened for reading.

    Args:
        path: The file.
        content: What the file should hold, for the error message.

    Raises:
        InputError: The file is missing, or h5py fails in the block. InputErrors of the block get `path` in front.
    """
    if not os.path.isfile(path):
        raise InputError(f"{path}: there is no such file")
    try:
        with h5py.File(str(path), "r") as file:
            yield file
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # For a damaged file h5py raises errors of many types.
        raise InputError(
            f"{path}: must be a whole HDF5 file of {content}; it may be truncated: {one_line_message(error)}"
        ) from None


def find_dataset(file: h5py.File, path: str) -> Optional[h5py.Dataset]:
    """Return the dataset at `path` in `file`, or None.

    Raises:
        InputError: `path` leads through a soft link or an external link.
    """
    node = file
    for part in path.split("/"):
        # Not `part in node`, which would follow a link into another file.
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise InputError(f"dataset `{path}` lies behind a link, which is not followed")
        node = node[part]
    return node if isinstance(node, h5py.Dataset) else None


def require_dataset(file: h5py.File, path: str, aliases: tuple[str, ...], shape: tuple[int, ...]) -> h5py.Dataset:
    """Return the dataset of floating-point numbers at `path` in `file`, or else at the first of `aliases` that exists.

    Raises:
        InputError: The dataset is missing, has another shape or type, or is not stored completely and without filters. A filter
            could expand to any size, or be a library that HDF5 loads; numbers that were never written could have any size too.
    """
    candidates = (find_dataset(file, candidate) for candidate in (path, *aliases))
    dataset = next((candidate for candidate in candidates if candidate is not None), None)
    if dataset is None:
        raise InputError(f"dataset `{path}` is missing; expected shape {shape}")
    name = dataset.name.lstrip("/")
    check_in_file(dataset)
    if dataset.dtype.kind != "f" or dataset.dtype.itemsize > 8:
        raise InputError(f"dataset `{name}` must hold floating-point numbers, got {truncated_repr(dataset.dtype)}")
    if dataset.shape != shape:
        raise InputError(
            f"dataset `{name}` must have shape {shape} by the options, got {truncated_repr(dataset.shape)}"
        )
    check_stored(dataset, dataset.dtype.itemsize)
    return dataset


def find_table(file: h5py.File, path: str) -> Optional[h5py.Dataset]:
    """Return the dataset of two dimensions at `path` in `file`, of any size, or None.

    Raises:
        InputError: See `require_dataset`.
    """
    dataset = find_dataset(file, path)
    if dataset is None:
        return None
    check_in_file(dataset)
    return None if len(dataset.shape or ()) != 2 else require_dataset(file, path, (), dataset.shape)


def check_in_file(dataset: h5py.Dataset) -> None:
    """Check that the data of `dataset` are in the same file.

    Call this before `dataset.shape`: for a virtual dataset, HDF5 may open another file to compute the shape.

    Raises:
        InputError: The data are in another file.
    """
    if dataset.external or dataset.is_virtual:
        name = dataset.name.lstrip("/")
        raise InputError(f"dataset `{name}` keeps its data in another file, which is not opened")


def check_stored(dataset: h5py.Dataset, item_bytes: int) -> None:
    """Check that `dataset`, of `item_bytes` per element, is stored completely and without filters.

    Raises:
        InputError: It is not, or a chunk claims to be larger than all that is stored.
    """
    name = dataset.name.lstrip("/")
    properties = dataset.id.get_create_plist()
    if properties.get_nfilters():
        filter_name = truncated_repr(properties.get_filter(0)[3].decode("utf-8", "replace"))
        raise InputError(
            f"dataset `{name}` must be stored without filters such as compression, got {filter_name} "
            "(`h5repack -f NONE` undoes them)"
        )
    num_bytes = math.prod(dataset.shape) * item_bytes
    stored, file_bytes = dataset.id.get_storage_size(), os.path.getsize(dataset.file.filename)
    if not num_bytes <= stored <= file_bytes:
        raise InputError(
            f"dataset `{name}` must be stored in full, {num_bytes:,} bytes, got {stored:,} in a file of {file_bytes:,}"
        )
    chunk_bytes = math.prod(dataset.chunks or ()) * item_bytes
    if dataset.chunks and chunk_bytes > stored:
        raise InputError(
            f"dataset `{name}` must have chunks no larger than what is stored, {stored:,} bytes, got {chunk_bytes:,}"
        )


def read_finite(dataset: h5py.Dataset) -> np.ndarray:
    """Return the values of `dataset`, which `require_dataset` returned, in the byte order of this machine.

    Raises:
        InputError: A value is not finite after conversion to float32, the type of a model's weights.
    """
    values = dataset[...]
    with np.errstate(over="ignore"):
        is_finite = np.isfinite(values.astype(np.float32, copy=False))
    if not is_finite.all():
        value = values[~is_finite][0]
        raise InputError(f"dataset `{dataset.name.lstrip('/')}` must hold finite numbers of float32, got {value}")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def unused_datasets(file: h5py.File, used: Collection[str], limit: int) -> list[str]:
    """Return the printable names of at most `limit` datasets of `file` that are not in `used`."""
    names: list[str] = []

    # No dataset is opened: its data may be in another file.
    def visit(name: bytes, info: h5py.h5o.ObjInfo) -> Optional[bool]:
        text = name.decode("utf-8", "replace")
        if info.type == h5py.h5o.TYPE_DATASET and text not in used:
            names.append(text if text.isprintable() and len(text) <= 200 else truncated_repr(text))
        return True if len(names) == limit else None

    h5py.h5o.visit(file.id, visit, info=True)
    return names
