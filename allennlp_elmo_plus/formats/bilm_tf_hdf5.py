"""Read and write weights.hdf5, the file of biLM weights that bilm-tf writes and that bilm-tf and AllenNLP load."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Optional, Union

import h5py
import numpy as np
from torch import Tensor, nn

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.name_table import ParameterMapping, conversion_table, placeholder_table, softmax_table
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.storage.atomic_files import atomic_path
from allennlp_elmo_plus.storage.checked_hdf5 import (
    find_dataset,
    find_table,
    open_hdf5,
    read_finite,
    require_dataset,
    unused_datasets,
)

logger = logging.getLogger(__name__)

PathLike = Union[str, Path]

SOFTMAX_GROUP = "softmax"
_SOFTMAX_DATASETS = {f"{SOFTMAX_GROUP}/W", f"{SOFTMAX_GROUP}/b"}


def write_weights(
    path: PathLike, model: nn.Module, options: BiLMOptions, on_bytes: Optional[Callable[[int], object]] = None
) -> None:
    """Write the weights of `model` to `path`, atomically, in single precision.

    The datasets have the paths that bilm-tf's and AllenNLP's loaders look for. This includes models of one layer, for which
    bilm-tf's own dump omits `MultiRNNCell/Cell0`, so that neither loader can load it. Identity matrices stand for the
    projections that AllenNLP requires but the model does not have (placeholder_table). The softmax is in a group that both
    loaders ignore (softmax_table).

    Args:
        path: the file to write.
        model: a module with `token_encoder`, `bilm` and perhaps `softmax`.
        options: the options of `model`.
        on_bytes: called with the size of each dataset, in bytes, after it is written.

    Raises:
        ValueError: a parameter of `model` does not have the shape that `options` give.
        InputError: the format cannot hold a model of these options, or `path` cannot be written.
    """
    pairs = _pair(model, options)
    with atomic_path(path) as temporary, h5py.File(str(temporary), "w") as file:
        for row, parameter in pairs:
            dataset = file.create_dataset(row.dataset, data=row.to_file(parameter))
            if on_bytes is not None:
                on_bytes(dataset.nbytes)
        for placeholder in placeholder_table(options):
            file.create_dataset(placeholder.dataset, data=placeholder.value())


def read_parameters(path: PathLike, options: BiLMOptions, vocab_size: Optional[int]) -> dict[str, Tensor]:
    """Return the weights in the file at `path` by their names in a LanguageModel.

    More files are read than AllenNLP's loader accepts: one layer without `MultiRNNCell`, one direction, no `CNN_proj`, no
    `W_P_0`, a word `embedding`, and all floating-point types. All datasets are checked before the first is read, so the memory
    taken is never more than the size of the file.

    Args:
        path: a weights.hdf5, which may come from an untrusted source.
        options: the options of the model.
        vocab_size: the number of rows of the softmax and of a word embedding. With None the softmax is not read, and
            `options.n_tokens_vocab` is the size of the word embedding.

    Raises:
        InputError: the file is no HDF5 file or is truncated; or a dataset, which is named, is missing, has another shape or
            type, holds numbers that are not finite, lies in another file, or is compressed or stored in part.
    """
    with open_hdf5(path) as file:
        rows = conversion_table(options, vocab_size)
        if vocab_size is not None and _has_softmax_group(file):
            rows += softmax_table(options, vocab_size)
        return {row.name: value for row, value in _read_rows(file, rows, options, path)}


def read_softmax(path: PathLike, options: BiLMOptions, vocab_size: int) -> dict[str, Tensor]:
    """Return the weights of the softmax in the file at `path`, which may hold nothing else; see `read_parameters`."""
    with open_hdf5(path) as file:
        rows = softmax_table(options, vocab_size)
        return {
            row.name: row.to_parameter(read_finite(dataset))
            for row, dataset in zip(rows, _require_datasets(file, rows), strict=True)
        }


def has_softmax(path: PathLike) -> bool:
    """Return whether the file at `path` has the group of a softmax."""
    with open_hdf5(path) as file:
        return _has_softmax_group(file)


def read_vocab_size(path: PathLike) -> int:
    """Return the number of rows of the word `embedding` in the file at `path`.

    Raises:
        InputError: the file cannot be read or has no such dataset.
    """
    with open_hdf5(path) as file:
        dataset = find_table(file, "embedding")
        if dataset is None:
            raise InputError(
                "dataset `embedding`, of two dimensions, is missing: options without `char_cnn` mean word input"
            )
        return int(dataset.shape[0])


def _require_datasets(file: h5py.File, rows: Sequence[ParameterMapping]) -> list[h5py.Dataset]:
    datasets = [require_dataset(file, row.dataset, row.aliases, row.shape) for row in rows]
    # A small file could have one dataset under many names, and reading it would then take much memory.
    num_bytes, file_bytes = sum(dataset.nbytes for dataset in datasets), os.path.getsize(file.filename)
    if num_bytes > file_bytes:
        raise InputError(f"the datasets must be stored apart, {num_bytes:,} bytes, got a file of {file_bytes:,}")
    return datasets


def _pair(model: nn.Module, options: BiLMOptions) -> list[tuple[ParameterMapping, Tensor]]:
    """Return each row of the conversion tables with its parameter.

    Raises:
        ValueError: the shapes of a row and its parameter differ.
    """
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


def _has_softmax_group(file: h5py.File) -> bool:
    return isinstance(file.get(SOFTMAX_GROUP, getlink=True), h5py.HardLink)


def _read_rows(
    file: h5py.File, rows: Sequence[ParameterMapping], options: BiLMOptions, path: PathLike
) -> Iterator[tuple[ParameterMapping, Tensor]]:
    """Yield each of `rows` with the parameter's value, then log a warning about unused datasets.

    Raises:
        InputError: a dataset is refused, or a placeholder does not hold its fixed values.
    """
    datasets = _require_datasets(file, rows)
    used = {dataset.name.lstrip("/") for dataset in datasets} | _SOFTMAX_DATASETS
    for row, dataset in zip(rows, datasets, strict=True):
        yield row, row.to_parameter(read_finite(dataset))
    for placeholder in placeholder_table(options):
        if find_dataset(file, placeholder.dataset) is not None:
            dataset = require_dataset(file, placeholder.dataset, (), placeholder.shape)
            used.add(placeholder.dataset)
            if not np.array_equal(read_finite(dataset), placeholder.value()):
                kind = "an identity matrix" if len(placeholder.shape) == 2 else "zeros"
                raise InputError(
                    f"dataset `{placeholder.dataset}` must be {kind}: with these options the model has no such part"
                )
    unused = unused_datasets(file, used, 4)
    if unused:
        logger.warning(
            "%s: not used, by the options: %s%s", path, ", ".join(unused[:3]), ", ..." if len(unused) > 3 else ""
        )
