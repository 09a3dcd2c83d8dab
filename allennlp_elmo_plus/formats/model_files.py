"""Where the files of a pretrained biLM lie: an archive, a directory, a pair of options and weights, each perhaps a URL."""

import os
from pathlib import Path
from typing import NamedTuple, Optional, Union

from allennlp_elmo_plus.data.text.vocabulary import read_vocabulary
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.archive import is_archive, open_archive, vocabulary_of

PathLike = Union[str, "os.PathLike[str]"]

ARCHIVE_NAME = "model.tar.gz"
OPTIONS_PATTERN, WEIGHTS_PATTERN, VOCABULARY_NAME = "*options.json", "*weights.hdf5", "vocab.txt"


class ModelFiles(NamedTuple):
    """`weights` is a weights.hdf5, or a model.tar.gz where `options` is None."""

    options: Optional[Path]
    weights: Path
    vocabulary: Optional[Path]  # a vocab.txt


def find_model(
    path: PathLike, weight_file: Optional[PathLike] = None, vocab_file: Optional[PathLike] = None
) -> ModelFiles:
    """The files of the biLM that `path` names: a model.tar.gz of pretraining; a directory that holds one, or one options.json
    and one weights.hdf5 (as `elmo-export` writes them; released files may keep the beginnings of their names); or an
    options.json with its `weight_file`. Each may be a URL, `hf://` too: see `local_path`. A directory's vocab.txt is the
    vocabulary unless `vocab_file` is given.

    Raises InputError where there is nothing such, or more than one.
    """
    vocabulary = None if vocab_file is None else local_path(vocab_file)
    found = local_path(path)
    if weight_file is not None:
        if not found.is_file():
            raise InputError(f"{path}: must be the options.json that goes with the weights, and is a directory")
        return ModelFiles(found, local_path(weight_file), vocabulary)
    if not found.is_dir():
        if not is_archive(found):
            raise InputError(
                f"{path}: must be a {ARCHIVE_NAME} or a directory; an options.json goes with a file of weights"
            )
        return ModelFiles(None, found, vocabulary)
    if vocabulary is None and (found / VOCABULARY_NAME).is_file():
        vocabulary = found / VOCABULARY_NAME
    options, weights = sorted(found.glob(OPTIONS_PATTERN)), sorted(found.glob(WEIGHTS_PATTERN))
    if len(options) == 1 and len(weights) == 1:
        return ModelFiles(options[0], weights[0], vocabulary)
    if (found / ARCHIVE_NAME).is_file() and not options and not weights:
        return ModelFiles(None, found / ARCHIVE_NAME, vocabulary)
    raise InputError(
        f"{path}: a directory must hold one options.json and one weights.hdf5, or a {ARCHIVE_NAME} alone, got "
        f"{len(options)} {OPTIONS_PATTERN}, {len(weights)} {WEIGHTS_PATTERN} and "
        f"{int((found / ARCHIVE_NAME).is_file())} {ARCHIVE_NAME}"
    )


def local_path(path: PathLike) -> Path:
    """`path`, or where it is a URL (`https://`, `hf://`, `s3://`, `gs://`) the file or directory that the package cached_path
    keeps of it.

    Raises InputError where there is no such file or directory, it cannot be fetched, or cached_path is not installed.
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
    except Exception as error:  # Whatever the client of the URL's scheme raises.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: cannot be fetched: {reason[:200]}") from None


def read_words(files: ModelFiles) -> Optional[list[str]]:
    """The vocabulary of the biLM in bilm-tf's order, `<S>`, `</S>` and `<UNK>` in it: of its vocab.txt, or of the archive. None
    where there is neither. Raises InputError where it cannot be used.
    """
    if files.vocabulary is not None:
        return read_vocabulary(files.vocabulary)
    if files.options is not None:
        return None
    with open_archive(files.weights) as archive:
        return vocabulary_of(archive)
