"""The datasets of an HDF5 file that a stranger made: found without leaving the file, checked before one is read."""

import contextlib
import math
import os
from collections.abc import Collection, Iterator
from typing import Optional, Union

import h5py
import numpy as np

from allennlp_elmo_plus.errors import InputError, truncated_repr


@contextlib.contextmanager
def open_hdf5(path: Union[str, "os.PathLike[str]"], content: str = "weights") -> Iterator[h5py.File]:
    """The file of `content` at `path`, opened to read. Whatever h5py raises of it in the block becomes one line that names it."""
    if not os.path.isfile(path):
        raise InputError(f"{path}: there is no such file")
    try:
        with h5py.File(str(path), "r") as file:
            yield file
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # A damaged file leads h5py to nearly anything.
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path}: must be a whole HDF5 file of {content}; it may be truncated: {reason}") from None


def lookup(file: h5py.File, path: str) -> Optional[h5py.Dataset]:
    """The dataset at `path`, or None. Raises InputError where a link other than a plain one leads there."""
    node = file
    for part in path.split("/"):
        # Asked for by its link, and not by `in`, which would follow a link into another file.
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise InputError(f"dataset `{path}` lies behind a link, which is not followed")
        node = node[part]
    return node if isinstance(node, h5py.Dataset) else None


def require_dataset(file: h5py.File, path: str, others: tuple[str, ...], shape: tuple[int, ...]) -> h5py.Dataset:
    """The dataset at `path` or else at one of `others`.

    Raises InputError where there is none, or one of another shape or kind, or one whose numbers are not all in the file as they
    are: a filter could make any size of them (or be a program that HDF5 loads), and what was never written needs no file at all.
    """
    found = (dataset for dataset in (lookup(file, candidate) for candidate in (path, *others)) if dataset is not None)
    dataset = next(found, None)
    if dataset is None:
        raise InputError(f"dataset `{path}` is missing; expected shape {shape}")
    name = dataset.name.lstrip("/")
    check_place(dataset)
    if dataset.dtype.kind != "f" or dataset.dtype.itemsize > 8:
        raise InputError(f"dataset `{name}` must hold floating-point numbers, got {truncated_repr(dataset.dtype)}")
    if dataset.shape != shape:
        raise InputError(
            f"dataset `{name}` must have shape {shape} by the options, got {truncated_repr(dataset.shape)}"
        )
    check_storage(dataset, dataset.dtype.itemsize)
    return dataset


def find_table(file: h5py.File, path: str) -> Optional[h5py.Dataset]:
    """The dataset of two dimensions at `path`, of any size, or None. Raises InputError as `require_dataset` does of what it is."""
    dataset = lookup(file, path)
    if dataset is None:
        return None
    check_place(dataset)
    return None if len(dataset.shape or ()) != 2 else require_dataset(file, path, (), dataset.shape)


def check_place(dataset: h5py.Dataset) -> None:
    """Raises InputError where the data of `dataset` lie in another file. To be called before its shape is asked for, as HDF5 may
    open another file to learn that of a virtual dataset.
    """
    if dataset.external or dataset.is_virtual:
        name = dataset.name.lstrip("/")
        raise InputError(f"dataset `{name}` keeps its data in another file, which is not opened")


def check_storage(dataset: h5py.Dataset, item_bytes: int) -> None:
    """Raises InputError unless `dataset`, of `item_bytes` an element, is stored in full and as it is, and each of its chunks is no
    larger than all that is stored.
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
    stored, in_file = dataset.id.get_storage_size(), os.path.getsize(dataset.file.filename)
    if not num_bytes <= stored <= in_file:
        raise InputError(
            f"dataset `{name}` must be stored in full, {num_bytes:,} bytes, got {stored:,} in a file of {in_file:,}"
        )
    chunk_bytes = math.prod(dataset.chunks or ()) * item_bytes
    if dataset.chunks and chunk_bytes > stored:
        raise InputError(
            f"dataset `{name}` must have chunks no larger than what is stored, {stored:,} bytes, got {chunk_bytes:,}"
        )


def read(dataset: h5py.Dataset) -> np.ndarray:
    """The values of a dataset that `require_dataset` gave, in the byte order of this machine. Raises InputError for any that is
    not finite, in
    float32 too, in which the weights of a model are.
    """
    values = dataset[...]
    with np.errstate(over="ignore"):
        is_finite = np.isfinite(values.astype(np.float32, copy=False))
    if not is_finite.all():
        value = values[~is_finite][0]
        raise InputError(f"dataset `{dataset.name.lstrip('/')}` must hold finite numbers of float32, got {value}")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def first_datasets_beside(file: h5py.File, used: Collection[str], most: int) -> list[str]:
    """The names, fit to be shown, of up to `most` datasets that are not in `used`."""
    names: list[str] = []

    # By what links say and without opening any: a dataset may point into another file.
    def visit(name: bytes, info: h5py.h5o.ObjInfo) -> Optional[bool]:
        text = name.decode("utf-8", "replace")
        if info.type == h5py.h5o.TYPE_DATASET and text not in used:
            names.append(text if text.isprintable() and len(text) <= 200 else truncated_repr(text))
        return True if len(names) == most else None

    h5py.h5o.visit(file.id, visit, info=True)
    return names
