"""Find the files of a pretrained biLM: in an archive, a directory or a pair of options and weights, each perhaps a URL.

This module only finds files; `pretrained.py` reads them.
"""

import os
from pathlib import Path
from typing import NamedTuple, Optional, Union

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.archive import is_archive

PathLike = Union[str, "os.PathLike[str]"]

ARCHIVE_NAME = "model.tar.gz"
OPTIONS_PATTERN, WEIGHTS_PATTERN, VOCABULARY_NAME = "*options.json", "*weights.hdf5", "vocab.txt"


class ModelFiles(NamedTuple):
    """The paths of a biLM's files."""

    options: Optional[Path]  # an options.json; None for an archive
    weights: Path  # a weights.hdf5 or a model.tar.gz
    vocabulary: Optional[Path]  # a vocab.txt

    @property
    def words(self) -> Optional[Path]:
        """Return the file with the vocabulary: the vocab.txt, else the archive, else None."""
        return self.vocabulary or (self.weights if self.options is None else None)


def find_model(
    path: PathLike, weight_file: Optional[PathLike] = None, vocab_file: Optional[PathLike] = None
) -> ModelFiles:
    """Return the files of the biLM that `path` names. Each argument may be a URL: see `local_path`.

    Args:
        path: a model.tar.gz of pretraining; a directory with one, or with one `*options.json` and one `*weights.hdf5` (as
            `elmo-export` writes them, or as they were released); or an options.json, which needs `weight_file`.
        weight_file: the weights.hdf5 of the options.json `path`.
        vocab_file: the vocabulary; the vocab.txt of the directory `path` where left out.

    Raises:
        InputError: `path` holds no biLM or more than one.
    """
    vocabulary = None if vocab_file is None else local_path(vocab_file)
    local = local_path(path)
    if weight_file is not None:
        if not local.is_file():
            raise InputError(f"{path}: must be the options.json that goes with the weights, and is a directory")
        return ModelFiles(local, local_path(weight_file), vocabulary)
    if not local.is_dir():
        if not is_archive(local):
            raise InputError(
                f"{path}: must be a {ARCHIVE_NAME} or a directory; an options.json goes with a file of weights"
            )
        return ModelFiles(None, local, vocabulary)
    if vocabulary is None and (local / VOCABULARY_NAME).is_file():
        vocabulary = local / VOCABULARY_NAME
    options, weights = sorted(local.glob(OPTIONS_PATTERN)), sorted(local.glob(WEIGHTS_PATTERN))
    if len(options) == 1 and len(weights) == 1:
        return ModelFiles(options[0], weights[0], vocabulary)
    if (local / ARCHIVE_NAME).is_file() and not options and not weights:
        return ModelFiles(None, local / ARCHIVE_NAME, vocabulary)
    raise InputError(
        f"{path}: a directory must hold one options.json and one weights.hdf5, or a {ARCHIVE_NAME} alone, got "
        f"{len(options)} {OPTIONS_PATTERN}, {len(weights)} {WEIGHTS_PATTERN} and "
        f"{int((local / ARCHIVE_NAME).is_file())} {ARCHIVE_NAME}"
    )


def local_path(path: PathLike) -> Path:
    """Return `path`; for a URL (`https://`, `hf://`, `s3://`, `gs://`) the path of its download in cached_path's cache.

    Raises:
        InputError: the file or directory is missing, the URL cannot be fetched, or cached_path is not installed.
    """
    name = os.fspath(path)
    if "://" not in name:
        if not os.path.exists(name):
            raise InputError(f"{name}: there is no such file or directory")
        return Path(name)
    try:
        from cached_path import cached_path
    except ImportError:
        raise InputError(f"{name}: a URL needs the package cached_path: pip install cached-path") from None
    try:
        return Path(cached_path(name))
    except Exception as error:  # Each scheme has its own client with its own errors.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: cannot be fetched: {reason[:200]}") from None
