"""weights.hdf5: the file of biLM weights that bilm-tf writes, and that bilm-tf and AllenNLP load."""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Optional, Union

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from .errors import InputError
from .files import atomic_path
from .options import BiLMOptions
from .weight_table import WeightRow, conversion_table, filler_table

logger = logging.getLogger(__name__)

PathLike = Union[str, Path]


def write_weights(path: PathLike, model: nn.Module, options: BiLMOptions) -> None:
    """
    Writes the weights of `model`, which has `token_encoder` and `bilm`, to `path`, whole or not at all.

    The paths are those that bilm-tf's and AllenNLP's loaders look for, also for one layer, where bilm-tf's own dump
    leaves out `MultiRNNCell/Cell0` and neither can load it; and identities stand in for the projections that AllenNLP
    requires (filler_table).
    """
    pairs = _pair(model, options)
    with atomic_path(path) as temporary, h5py.File(str(temporary), "w") as file:
        for row, parameter in pairs:
            file.create_dataset(row.dataset, data=row.to_file(parameter))
        for filler in filler_table(options):
            file.create_dataset(filler.dataset, data=filler.value())


def read_weights(path: PathLike, model: nn.Module, options: BiLMOptions) -> None:
    """
    Fills the parameters of `model`, which has `token_encoder` and `bilm`, from the file at `path`.

    Beside what write_weights writes it reads the files AllenNLP's loader refuses: one layer without `MultiRNNCell`, one
    direction, no `CNN_proj`, no `W_P_0`, a word `embedding`; and any floating-point type. Each dataset's shape is
    compared with the options before any data is read, so that no file makes us allocate more than they say.

    Raises InputError, naming the dataset, where one is missing, has another shape, holds values that are not finite, or
    lies in another file; and where the file is no HDF5 file or is truncated.
    """
    pairs = _pair(model, options)
    with _open(path) as file:
        datasets = [_find(file, row.dataset, row.others, row.shape) for row, _ in pairs]
        used = {dataset.name.lstrip("/") for dataset in datasets}
        for (row, parameter), dataset in zip(pairs, datasets, strict=True):
            values = row.to_parameter(_read(dataset))
            with torch.no_grad():
                parameter.copy_(values)
        for filler in filler_table(options):
            if _lookup(file, filler.dataset) is not None:
                dataset = _find(file, filler.dataset, (), filler.shape)
                used.add(filler.dataset)
                if not np.array_equal(_read(dataset), filler.value()):
                    kind = "an identity matrix" if len(filler.shape) == 2 else "zeros"
                    raise InputError(
                        f"dataset `{filler.dataset}` must be {kind}: with these options the model has no such part"
                    )
        _warn_of_unused(file, used, path)


def read_vocab_size(path: PathLike) -> int:
    """Number of rows of the word `embedding` in the file at `path`."""
    with _open(path) as file:
        dataset = _lookup(file, "embedding")
        if dataset is None or len(dataset.shape) != 2:
            raise InputError(
                "dataset `embedding`, of two dimensions, is missing: options without `char_cnn` mean word input"
            )
        return int(dataset.shape[0])


def _pair(model: nn.Module, options: BiLMOptions) -> list[tuple[WeightRow, Tensor]]:
    """The conversion table with the parameter of each row; the two must agree before a file is opened."""
    parameters: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    embedding = parameters.get("token_encoder.embedding")
    pairs = []
    for row in conversion_table(options, None if embedding is None else len(embedding)):
        parameter = parameters.get(row.name)
        shape = None if parameter is None else tuple(parameter.shape)
        if parameter is None or shape != row.parameter_shape:
            raise ValueError(f"`{row.name}` must have shape {row.parameter_shape} by the options, got {shape}")
        pairs.append((row, parameter))
    return pairs


@contextlib.contextmanager
def _open(path: PathLike) -> Iterator[h5py.File]:
    if not os.path.isfile(path):
        raise InputError(f"{path}: there is no such file")
    try:
        with h5py.File(str(path), "r") as file:
            yield file
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (OSError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: must be a whole HDF5 file of weights; it may be truncated: {reason}") from None


def _lookup(file: h5py.File, path: str) -> Optional[h5py.Dataset]:
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


def _find(file: h5py.File, path: str, others: tuple[str, ...], shape: tuple[int, ...]) -> h5py.Dataset:
    found = (dataset for dataset in (_lookup(file, candidate) for candidate in (path, *others)) if dataset is not None)
    dataset = next(found, None)
    if dataset is None:
        raise InputError(f"dataset `{path}` is missing; expected shape {shape}")
    name = dataset.name.lstrip("/")
    if dataset.external or dataset.is_virtual:
        raise InputError(f"dataset `{name}` keeps its data in another file, which is not opened")
    if dataset.dtype.kind != "f" or dataset.dtype.itemsize > 8:
        raise InputError(f"dataset `{name}` must hold floating-point numbers, got {dataset.dtype}")
    if dataset.shape != shape:
        raise InputError(f"dataset `{name}` must have shape {shape} by the options, got {dataset.shape}")
    return dataset


def _read(dataset: h5py.Dataset) -> np.ndarray:
    values = dataset[...]
    if not np.isfinite(values).all():
        raise InputError(f"dataset `{dataset.name.lstrip('/')}` must hold finite numbers, got some that are not")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _warn_of_unused(file: h5py.File, used: set[str], path: PathLike) -> None:
    unused: list[str] = []

    def visit(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset) and name not in used:
            unused.append(name)

    file.visititems(visit)
    if unused:
        logger.warning(
            "%s: not used, by the options: %s%s", path, ", ".join(unused[:3]), ", ..." if len(unused) > 3 else ""
        )
