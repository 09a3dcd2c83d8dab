"""Read the weights of a biLM from the directory in which bilm-tf trained it: a TensorFlow checkpoint beside an options.json.

A checkpoint also has the softmax, which bilm-tf's weights.hdf5 lacks, and Adagrad's sums of squared gradients.
"""

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.errors import InputError, truncated_repr
from allennlp_elmo_plus.formats.name_table import ParameterMapping, conversion_table, softmax_table
from allennlp_elmo_plus.formats.tensorflow_checkpoint import INDEX_SUFFIX, TensorFlowCheckpoint
from allennlp_elmo_plus.options.bilm_options import BiLMOptions

logger = logging.getLogger(__name__)

STATE_NAME = "checkpoint"
_MAX_STATE_BYTES = 2**20

# The part of a path after its last slash, perhaps of another operating system.
_NEWEST = re.compile(rb'^model_checkpoint_path: "(?:[^"\n]*[/\\])?([^/\\"\n]+)"', re.MULTILINE)

_SCOPE = "lm/"
_ADAGRAD = "/Adagrad"
_SOFTMAX = ("softmax/W", "softmax/b")


def is_training_directory(path: Path) -> bool:
    """Return whether `path` is a directory with the files of a TensorFlow checkpoint."""
    return any(path.glob("*.data-?????-of-?????")) and any(path.glob(f"*{INDEX_SUFFIX}"))


def has_softmax(directory: Path) -> bool:
    """Return whether the newest checkpoint in `directory` has a softmax."""
    return _SOFTMAX[1] in _tensors_by_dataset(_open(directory))


def read_vocab_size(directory: Path) -> int:
    """Return the number of rows of the word embedding in the newest checkpoint in `directory`.

    Raises:
        InputError: the checkpoint cannot be read or has no such tensor.
    """
    checkpoint = _open(directory)
    shape = checkpoint.shapes.get(f"{_SCOPE}embedding", ())
    if len(shape) != 2:
        raise InputError(
            f"{directory}: tensor `{_SCOPE}embedding`, of two dimensions, is missing: options without `char_cnn` mean word input"
        )
    return shape[0]


def read_parameters(directory: Path, options: BiLMOptions, vocab_size: Optional[int]) -> dict[str, Tensor]:
    """Return the weights of the newest checkpoint in `directory` by their names in a LanguageModel.

    Args:
        directory: a directory of bilm-tf's training, which may come from an untrusted source.
        options: the options of the model.
        vocab_size: the number of rows of the softmax and of a word embedding. With None the softmax is not read, and
            `options.n_tokens_vocab` is the size of the word embedding.

    Raises:
        InputError: a file is missing or damaged, or a tensor, which is named, is missing or of another shape.
    """
    checkpoint = _open(directory)
    tensors = _tensors_by_dataset(checkpoint)
    rows = _rows(checkpoint, options, vocab_size)
    names = [_tensor_of(row, tensors, directory) for row in rows]
    unused = sorted(set(tensors.values()) - set(names) - {f"{_SCOPE}{name}" for name in _SOFTMAX})
    if unused:
        logger.warning(
            "%s: not used, by the options: %s%s", directory, ", ".join(unused[:3]), ", ..." if len(unused) > 3 else ""
        )
    return _read(checkpoint, rows, names)


def read_adagrad_sums(directory: Path, options: BiLMOptions, vocab_size: Optional[int]) -> dict[str, Tensor]:
    """Return Adagrad's sum of squared gradients for each weight of `read_parameters`; an empty dict where they are missing.

    Raises:
        InputError: see `read_parameters`; or a sum is not above 0.
    """
    checkpoint = _open(directory)
    tensors = _tensors_by_dataset(checkpoint)
    rows = _rows(checkpoint, options, vocab_size)
    names = [f"{_tensor_of(row, tensors, directory)}{_ADAGRAD}" for row in rows]
    if not set(names) <= set(checkpoint.shapes):
        return {}
    sums = _read(checkpoint, rows, names)
    for name, tensor in zip(names, sums.values(), strict=True):
        if not ((tensor > 0) & (tensor < torch.inf)).all():
            raise InputError(f"{directory}: tensor `{name}` must hold finite sums above 0")
    return sums


def _open(directory: Path) -> TensorFlowCheckpoint:
    return TensorFlowCheckpoint(_newest_prefix(directory))


def _newest_prefix(directory: Path) -> Path:
    """Return the path of the newest checkpoint without its suffix.

    The file `checkpoint` names it, at times with the directory of another machine, which is ignored.

    Raises:
        InputError: the checkpoint is not beside the file `checkpoint`; or that file is missing, and there are several indexes.
    """
    state = directory / STATE_NAME
    if state.is_file():
        with open(state, "rb") as file:
            match = _NEWEST.search(file.read(_MAX_STATE_BYTES))
        name = "" if match is None else os.fsdecode(match[1])
        if not (directory / f"{name}{INDEX_SUFFIX}").is_file():
            raise InputError(
                f"{state}: must name a checkpoint whose {INDEX_SUFFIX} is beside it, got {truncated_repr(name)}"
            )
        return directory / name
    indexes = sorted(directory.glob(f"*{INDEX_SUFFIX}"))
    if len(indexes) != 1:
        raise InputError(
            f"{directory}: without the file `{STATE_NAME}` must hold one *{INDEX_SUFFIX}, got {len(indexes)}"
        )
    return indexes[0].with_suffix("")


def _rows(checkpoint: TensorFlowCheckpoint, options: BiLMOptions, vocab_size: Optional[int]) -> list[ParameterMapping]:
    rows = conversion_table(options, vocab_size)
    if vocab_size is not None and _SOFTMAX[1] in _tensors_by_dataset(checkpoint):
        rows += softmax_table(options, vocab_size)
    return rows


def _tensors_by_dataset(checkpoint: TensorFlowCheckpoint) -> dict[str, str]:
    """Return the name of each weight by the path that bilm-tf gives its dataset in weights.hdf5."""
    names = [name for name in checkpoint.shapes if name.startswith(_SCOPE) and not name.endswith(_ADAGRAD)]
    return {_dataset_of(name): name for name in names}


def _dataset_of(tensor: str) -> str:
    path = tensor.removeprefix(_SCOPE)
    for old, new in (("/rnn/", "/RNN/"), ("/multi_rnn_cell/", "/MultiRNNCell/"), ("/cell_", "/Cell")):
        path = path.replace(old, new)
    path = path.replace("/lstm_cell/", "/LSTMCell/")
    if "/RNN/" in path:
        for old, new in (("projection/kernel", "W_P_0"), ("kernel", "W_0"), ("bias", "B")):
            path = path.removesuffix(old) + new if path.endswith(f"/{old}") else path
    return path


def _tensor_of(row: ParameterMapping, tensors: dict[str, str], directory: Path) -> str:
    for dataset in (row.dataset, *row.aliases):
        if dataset in tensors:
            return tensors[dataset]
    raise InputError(
        f"{directory}: the tensor of `{row.dataset}` is missing in the checkpoint; expected shape {row.shape}"
    )


def _read(
    checkpoint: TensorFlowCheckpoint, rows: Sequence[ParameterMapping], names: Sequence[str]
) -> dict[str, Tensor]:
    arrays = checkpoint.read({name: row.shape for name, row in zip(names, rows, strict=True)})
    return {row.name: row.to_parameter(arrays[name]) for name, row in zip(names, rows, strict=True)}
