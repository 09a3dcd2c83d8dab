"""weights.hdf5: the file of biLM weights that bilm-tf writes, and that bilm-tf and AllenNLP load."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Optional, Union

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.name_table import (
    ParameterMapping,
    conversion_table,
    filler_table,
    softmax_table,
)
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.storage.atomic_files import atomic_path
from allennlp_elmo_plus.storage.checked_hdf5 import (
    find_table,
    first_datasets_beside,
    lookup,
    open_hdf5,
    read,
    require_dataset,
)

logger = logging.getLogger(__name__)

PathLike = Union[str, Path]

SOFTMAX_GROUP = "softmax"
_SOFTMAX_DATASETS = {f"{SOFTMAX_GROUP}/W", f"{SOFTMAX_GROUP}/b"}


def write_weights(
    path: PathLike, model: nn.Module, options: BiLMOptions, on_bytes: Optional[Callable[[int], object]] = None
) -> None:
    """Writes the weights of `model`, which has `token_encoder` and `bilm`, and its `softmax` where it has one, to `path`,
    whole or not at all. `on_bytes` is told the size of each dataset once it is written.

    The paths are those that bilm-tf's and AllenNLP's loaders look for, also for one layer, where bilm-tf's own dump
    leaves out `MultiRNNCell/Cell0` and neither can load it; and identities stand in for the projections that AllenNLP
    requires (filler_table). The softmax is in a group that both leave alone (softmax_table).
    """
    pairs = _pair(model, options)
    with atomic_path(path) as temporary, h5py.File(str(temporary), "w") as file:
        for row, parameter in pairs:
            dataset = file.create_dataset(row.dataset, data=row.to_file(parameter))
            if on_bytes is not None:
                on_bytes(dataset.nbytes)
        for filler in filler_table(options):
            file.create_dataset(filler.dataset, data=filler.value())


def read_weights(path: PathLike, model: nn.Module, options: BiLMOptions) -> None:
    """Fills the parameters of `model`, which has `token_encoder` and `bilm`, from the file at `path`; where `model` has a
    `softmax` too, the file must have it (has_softmax).

    Beside what write_weights writes it reads the files AllenNLP's loader refuses: one layer without `MultiRNNCell`, one
    direction, no `CNN_proj`, no `W_P_0`, a word `embedding`; and any floating-point type. All is checked before any data is
    read (check_weights).

    Raises InputError, naming the dataset, where one is missing, has another shape or kind, holds values that are not finite,
    lies in another file or is not stored in full and as it is; and where the file is no HDF5 file or is truncated.
    """
    pairs = _pair(model, options)
    parameters = {row.name: parameter for row, parameter in pairs}
    with open_hdf5(path) as file, torch.no_grad():
        for row, value in _values(file, [row for row, _ in pairs], options, path):
            parameters[row.name].copy_(value)


def read_parameters(path: PathLike, options: BiLMOptions, vocab_size: Optional[int]) -> dict[str, Tensor]:
    """The weights in the file at `path` by their names below a LanguageModel; the softmax among them where the file has
    one and `vocab_size`, its number of rows, is given. Raises what read_weights raises.
    """
    with open_hdf5(path) as file:
        rows = conversion_table(options, vocab_size)
        if vocab_size is not None and _softmax_group(file):
            rows += softmax_table(options, vocab_size)
        return {row.name: value for row, value in _values(file, rows, options, path)}


def has_softmax(path: PathLike) -> bool:
    """Whether the file at `path` has the group of a softmax."""
    with open_hdf5(path) as file:
        return _softmax_group(file)


def check_weights(path: PathLike, options: BiLMOptions) -> None:
    """Raises what read_weights raises of the datasets a biLM with these options needs, short of reading their values: before memory
    is taken for the model, which is then no larger than the file.
    """
    with open_hdf5(path) as file:
        _find_all(file, conversion_table(options))


def read_vocab_size(path: PathLike) -> int:
    """Number of rows of the word `embedding` in the file at `path`."""
    with open_hdf5(path) as file:
        dataset = find_table(file, "embedding")
        if dataset is None:
            raise InputError(
                "dataset `embedding`, of two dimensions, is missing: options without `char_cnn` mean word input"
            )
        return int(dataset.shape[0])


def _find_all(file: h5py.File, rows: Sequence[ParameterMapping]) -> list[h5py.Dataset]:
    datasets = [require_dataset(file, row.dataset, row.aliases, row.shape) for row in rows]
    # Each is in the file; one of them may be so under many names.
    num_bytes, in_file = sum(dataset.nbytes for dataset in datasets), os.path.getsize(file.filename)
    if num_bytes > in_file:
        raise InputError(f"the datasets must be stored apart, {num_bytes:,} bytes, got a file of {in_file:,}")
    return datasets


def _pair(model: nn.Module, options: BiLMOptions) -> list[tuple[ParameterMapping, Tensor]]:
    """The conversion tables with the parameter of each row; the two must agree before a file is opened."""
    parameters: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    embedding, softmax_bias = parameters.get("token_encoder.embedding"), parameters.get("softmax.bias")
    rows = conversion_table(options, None if embedding is None else len(embedding))
    if softmax_bias is not None:
        rows += softmax_table(options, len(softmax_bias))
    pairs = []
    for row in rows:
        parameter = parameters.get(row.name)
        shape = None if parameter is None else tuple(parameter.shape)
        if parameter is None or shape != row.parameter_shape:
            raise ValueError(f"`{row.name}` must have shape {row.parameter_shape} by the options, got {shape}")
        pairs.append((row, parameter))
    return pairs


def _softmax_group(file: h5py.File) -> bool:
    return isinstance(file.get(SOFTMAX_GROUP, getlink=True), h5py.HardLink)


def _values(
    file: h5py.File, rows: Sequence[ParameterMapping], options: BiLMOptions, path: PathLike
) -> Iterator[tuple[ParameterMapping, Tensor]]:
    """Each of `rows` with the parameter's value, read one at a time; in the end what is there besides is looked at."""
    datasets = _find_all(file, rows)
    used = {dataset.name.lstrip("/") for dataset in datasets} | _SOFTMAX_DATASETS
    for row, dataset in zip(rows, datasets, strict=True):
        yield row, row.to_parameter(read(dataset))
    for filler in filler_table(options):
        if lookup(file, filler.dataset) is not None:
            dataset = require_dataset(file, filler.dataset, (), filler.shape)
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
