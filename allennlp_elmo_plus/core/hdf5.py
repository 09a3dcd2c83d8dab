"""weights.hdf5: the file of biLM weights that bilm-tf writes, and that bilm-tf and AllenNLP load."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Union

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from .errors import InputError
from .files import atomic_path
from .hdf5_datasets import find, first_datasets_beside, lookup, open_hdf5, read
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
    direction, no `CNN_proj`, no `W_P_0`, a word `embedding`; and any floating-point type. All is checked before any data is
    read (check_weights).

    Raises InputError, naming the dataset, where one is missing, has another shape or kind, holds values that are not finite,
    lies in another file or is not stored in full and as it is; and where the file is no HDF5 file or is truncated.
    """
    pairs = _pair(model, options)
    with open_hdf5(path) as file:
        datasets = _find_all(file, [row for row, _ in pairs])
        used = {dataset.name.lstrip("/") for dataset in datasets}
        for (row, parameter), dataset in zip(pairs, datasets, strict=True):
            values = row.to_parameter(read(dataset))
            with torch.no_grad():
                parameter.copy_(values)
        for filler in filler_table(options):
            if lookup(file, filler.dataset) is not None:
                dataset = find(file, filler.dataset, (), filler.shape)
                used.add(filler.dataset)
                if not np.array_equal(read(dataset), filler.value()):
                    kind = "an identity matrix" if len(filler.shape) == 2 else "zeros"
                    raise InputError(
                        f"dataset `{filler.dataset}` must be {kind}: with these options the model has no such part"
                    )
        unused = first_datasets_beside(file, used, 4)
    if unused:
        logger.warning(
            "%s: not used, by the options: %s%s", path, ", ".join(unused[:3]), ", ..." if len(unused) > 3 else ""
        )


def check_weights(path: PathLike, options: BiLMOptions) -> None:
    """
    Raises what read_weights raises of the datasets a biLM with these options needs, short of reading their values: before memory
    is taken for the model, which is then no larger than the file.
    """
    with open_hdf5(path) as file:
        _find_all(file, conversion_table(options))


def read_vocab_size(path: PathLike) -> int:
    """Number of rows of the word `embedding` in the file at `path`."""
    with open_hdf5(path) as file:
        dataset = lookup(file, "embedding")
        if dataset is None or dataset.is_virtual or len(dataset.shape or ()) != 2:
            raise InputError(
                "dataset `embedding`, of two dimensions, is missing: options without `char_cnn` mean word input"
            )
        return int(find(file, "embedding", (), dataset.shape).shape[0])


def _find_all(file: h5py.File, rows: Sequence[WeightRow]) -> list[h5py.Dataset]:
    datasets = [find(file, row.dataset, row.others, row.shape) for row in rows]
    # Each is in the file; one of them may be so under many names.
    num_bytes, in_file = sum(dataset.nbytes for dataset in datasets), os.path.getsize(file.filename)
    if num_bytes > in_file:
        raise InputError(f"the datasets must be stored apart, {num_bytes:,} bytes, got a file of {in_file:,}")
    return datasets


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
