"""Find the files of a pretrained biLM: local paths, downloads of URLs, the files of a directory, and those packed in a zip.

This module only finds files; `pretrained.py` reads them.
"""

import contextlib
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Optional, Union

from allennlp_elmo_plus.errors import InputError, one_line_message, truncated_repr

PathLike = Union[str, "os.PathLike[str]"]

ARCHIVE_NAME = "model.tar.gz"
VOCABULARY_NAME = "vocab.txt"
OPTIONS_PATTERN, WEIGHTS_PATTERN = "*options.json", "*.hdf5"

# Where several HDF5 files are in a directory.
_NAMED_WEIGHTS_PATTERN = "*weights.hdf5"

# USER/NAME, which a user may write without the scheme `hf://`.
_NAME_ON_HUB = re.compile(r"[\w-][\w.-]*/[\w-]+")

# Weights of floating-point numbers hardly shrink; a vocabulary shrinks to a third.
_MAX_EXPANSION = 100
_MAX_MEMBERS = 10_000
_CHUNK_BYTES = 2**20


class ModelSource(NamedTuple):
    """The place of a pretrained biLM. Each part is a path or a URL: see `local_path`.

    Attributes:
        path: a file or a directory of one of the kinds in `pretrained.KINDS`; with `weight_file`, an options.json.
        weight_file: the weights that go with the options.json `path`.
        vocab_file: the vocabulary, a vocab.txt or a model.tar.gz. By default it is the one beside the weights, if any.
        softmax_file: an HDF5 file with a softmax that the weights lack, as the authors of ELMo published one apart.
    """

    path: PathLike
    weight_file: Optional[PathLike] = None
    vocab_file: Optional[PathLike] = None
    softmax_file: Optional[PathLike] = None


class OptionsAndWeights(NamedTuple):
    """The two files of a biLM in a directory."""

    options: Path
    weights: Path


def find_pair(directory: Path, softmax_file: Optional[Path] = None) -> Optional[OptionsAndWeights]:
    """Return the one `*options.json` and the one HDF5 file in `directory`, or None.

    `softmax_file` and files with `softmax` in their names are left out. If several HDF5 files remain, the one with a name that ends
    in `weights.hdf5` is taken.
    """
    options = list(directory.glob(OPTIONS_PATTERN))
    for pattern in (WEIGHTS_PATTERN, _NAMED_WEIGHTS_PATTERN):
        weights = [path for path in directory.glob(pattern) if path != softmax_file and "softmax" not in path.name]
        if len(options) == 1 and len(weights) == 1:
            return OptionsAndWeights(options[0], weights[0])
    return None


def find_vocabulary(directory: Path) -> Optional[Path]:
    """Return the path of the `vocab.txt` or `vocab.txt.gz` in `directory`, or None."""
    paths = (directory / VOCABULARY_NAME, directory / f"{VOCABULARY_NAME}.gz")
    return next((path for path in paths if path.is_file()), None)


def is_url(path: Optional[PathLike]) -> bool:
    """Return whether `path` is a URL, which `local_path` downloads."""
    return path is not None and "://" in os.fspath(path)


def local_path(path: PathLike) -> Path:
    """Return `path`; for a URL (`https://`, `hf://`, `s3://`, `gs://`) the path of its download in cached_path's cache.

    Raises:
        InputError: the file or directory is missing, the URL cannot be fetched, or cached_path is not installed.
    """
    name = os.fspath(path)
    if not is_url(name):
        if not os.path.exists(name):
            hint = f"; of the Hugging Face Hub it would be hf://{name}" if _NAME_ON_HUB.fullmatch(name) else ""
            raise InputError(f"{name}: there is no such file or directory{hint}")
        return Path(name)
    try:
        from cached_path import cached_path
    except ImportError:
        raise InputError(f"{name}: a URL needs the package cached_path: pip install cached-path") from None
    try:
        return Path(cached_path(name))
    except Exception as error:  # Each scheme has its own client with its own errors.
        raise InputError(f"{name}: cannot be fetched: {one_line_message(error)}") from None


@contextlib.contextmanager
def unpacked_zip(path: Path) -> Iterator[Path]:
    """Yield a temporary directory with the files of the zip at `path`; the directory is removed after the block.

    If one directory in the zip holds everything, that directory is yielded. Nothing is written outside of the temporary directory.

    Raises:
        InputError: the zip is damaged, holds more than 10,000 members or one with a path to elsewhere, or its files are more than
            100 times as large as the zip. InputErrors of the block are raised again with `path` for the temporary directory.
    """
    with tempfile.TemporaryDirectory(prefix="bilm-zip-") as name:
        directory = Path(name)
        try:
            with zipfile.ZipFile(path) as archive:
                _unpack(archive, directory, _MAX_EXPANSION * path.stat().st_size)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        except Exception as error:  # A damaged file leads zipfile to nearly anything.
            raise InputError(f"{path}: must be a whole zip: {one_line_message(error)}") from None
        content = list(directory.iterdir())
        if len(content) == 1 and content[0].is_dir():
            directory = content[0]
        try:
            yield directory
        except InputError as error:
            raise InputError(str(error).replace(str(directory), str(path), 1)) from None


def _unpack(archive: zipfile.ZipFile, directory: Path, max_bytes: int) -> None:
    members = archive.infolist()
    if len(members) > _MAX_MEMBERS:
        raise InputError(f"must hold at most {_MAX_MEMBERS:,} members, got {len(members):,}")
    num_bytes = 0
    for member in members:
        # macOS adds a second file with properties for each file.
        if member.is_dir() or "__MACOSX" in member.filename.split("/") or "/._" in f"/{member.filename}":
            continue
        if member.filename.startswith("/") or "\\" in member.filename or ".." in member.filename.split("/"):
            raise InputError(f"the member {truncated_repr(member.filename)} must have a relative path without `..`")
        target = directory / member.filename
        target.parent.mkdir(parents=True, exist_ok=True)
        # "x": no member replaces another.
        with archive.open(member) as source, open(target, "xb") as file:
            while chunk := source.read(_CHUNK_BYTES):
                num_bytes += len(chunk)
                if num_bytes > max_bytes:
                    raise InputError(f"its files must be at most {max_bytes:,} bytes together, got more")
                file.write(chunk)
