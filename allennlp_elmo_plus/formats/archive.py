"""Read a biLM from the `model.tar.gz` that `elmo-plus train` writes, and write one."""

import contextlib
import dataclasses
import gzip
import io
import json
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Union

import torch
from torch import Tensor
from tqdm.utils import CallbackIOWrapper

from allennlp_elmo_plus.data.text.vocabulary import (
    MAX_VOCABULARY_BYTES,
    parse_vocabulary,
    read_vocabulary,
    write_vocabulary,
)
from allennlp_elmo_plus.errors import InputError, one_line_message, truncated_repr
from allennlp_elmo_plus.formats.model_files import PathLike
from allennlp_elmo_plus.formats.parameters import PretrainedModel
from allennlp_elmo_plus.modules.build import language_model_shapes
from allennlp_elmo_plus.options.bilm_options import MAX_PARAMETERS, BiLMOptions, option_keys
from allennlp_elmo_plus.storage.atomic_files import atomic_path
from allennlp_elmo_plus.storage.checked_tar import CheckedTar
from allennlp_elmo_plus.storage.json_file import MAX_JSON_BYTES, parse_json_mapping
from allennlp_elmo_plus.storage.torch_weights import read_state

# In double precision, the widest type of weights.
MAX_ARCHIVE_BYTES = 8 * MAX_PARAMETERS

CONFIG = "config.json"
VOCABULARY = "vocabulary/tokens.txt"
WEIGHTS = "weights.th"

# The attribute of the AllenNLP model that holds the LanguageModel.
WEIGHTS_PREFIX = "language_model."

# Files of models that are no biLM of this kind, and the reason that an error gives.
REFUSED_FILES = {
    name: "must be a biLM in a file of weights, got a module of TensorFlow Hub, whose weights are inside a TensorFlow program"
    for name in ("saved_model.pb", "tfhub_module.pb")
}
_LANGUAGE_MODELS_OF_ALLENNLP = ("language_model", "bidirectional-language-model", "bidirectional_lm")

_NUL = b"\0"

# Held-out text is read as one lane, in windows of this many words, as in the configs of this repository.
_NUM_STEPS = 640

# Room in a file of weights for names and shapes.
_MAX_DESCRIPTION_BYTES = 2**20


class ArchivedModel(NamedTuple):
    """A biLM as an archive holds it."""

    options: BiLMOptions  # with `n_tokens_vocab`
    vocabulary: list[str]  # in bilm-tf's order
    weights: dict[str, Tensor]  # by their names in a LanguageModel of these options; on disk until they are used


def is_archive(path: Union[str, Path]) -> bool:
    """Return whether the file at `path` begins with the bytes of gzip. Its name is ignored, as a download may change it.

    An InputError is raised where the file cannot be read.
    """
    return _begins_with(path, b"\x1f\x8b")


def is_zip(path: Union[str, Path]) -> bool:
    """Return whether the file at `path` begins with the bytes of a zip; see `is_archive`."""
    return _begins_with(path, b"PK\x03\x04")


def _begins_with(path: Union[str, Path], magic: bytes) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(magic)) == magic
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def read_archive(path: Union[str, Path]) -> ArchivedModel:
    """Return the biLM in the archive at `path`, which may come from an untrusted source.

    Nothing in an archive is executed. Only its weights are written to disk, to a temporary file. Every member is checked first
    (storage/checked_tar.py). The section `model` of `config.json` must be of type `bilm`. The tensors of `weights.th` must be
    exactly those of the options and the vocabulary; this is checked before any tensor is loaded (storage/torch_weights.py).

    Raises:
        InputError: the file is no such archive, is damaged, or holds another kind of model.
    """
    with open_archive(path) as archive:
        for name, reason in REFUSED_FILES.items():
            if name in archive:
                raise InputError(reason)
        options = _parse_options(read_member(archive, CONFIG, MAX_JSON_BYTES))
        words = _read_vocabulary(archive)
        shapes = language_model_shapes(options, len(words))
        options = dataclasses.replace(options, n_tokens_vocab=len(words))
        max_bytes = 8 * sum(options.parameter_counts().values()) + _MAX_DESCRIPTION_BYTES
        with extract_weights(archive, max_bytes) as weights_file:
            state = read_state(weights_file, {f"{WEIGHTS_PREFIX}{name}": shape for name, shape in shapes.items()})
    return ArchivedModel(options, words, {name: state[f"{WEIGHTS_PREFIX}{name}"] for name in shapes})


def read_words(path: Union[str, Path]) -> list[str]:
    """Return the vocabulary in the file at `path`, in the order of bilm-tf's ids.

    The file is a vocab.txt of bilm-tf, perhaps compressed by gzip, or a model.tar.gz, whose config and weights are not read.

    Raises:
        InputError: the file cannot be read, is damaged, or holds no vocabulary.
    """
    if not is_archive(path):
        return read_vocabulary(path)
    try:
        with gzip.open(path) as file:
            content = file.read(MAX_VOCABULARY_BYTES + 1)
    except (OSError, EOFError, zlib.error):
        content = _NUL
    # A text has no such byte, and the first header of a tar has many.
    if _NUL not in content[:512]:
        return parse_vocabulary(content, str(path))
    with open_archive(path) as archive:
        return _read_vocabulary(archive)


def write_archive(
    path: PathLike, bilm: PretrainedModel, progress: Callable[[int], AbstractContextManager[Callable[[int], object]]]
) -> None:
    """Write `bilm` to `path`, atomically, as the archive of an AllenNLP model "bilm".

    Args:
        path: the model.tar.gz to write.
        bilm: the biLM.
        progress: opens a progress bar for a number of bytes, which is then moved with each part that is compressed.

    Raises:
        InputError: `path` cannot be written.
    """
    with (
        atomic_path(path) as temporary,
        # In the same directory, because the disk of the archive has space for both.
        tempfile.TemporaryDirectory(prefix=".elmo-import-", dir=temporary.parent) as name,
        tarfile.open(temporary, "w:gz", compresslevel=1) as archive,
    ):
        directory = Path(name)
        (directory / CONFIG).write_text(json.dumps(_training_config(bilm.options), indent=2) + "\n", encoding="utf-8")
        vocabulary = directory / VOCABULARY
        vocabulary.parent.mkdir()
        write_vocabulary(vocabulary, bilm.vocabulary)
        # AllenNLP's defaults.
        vocabulary.with_name("non_padded_namespaces.txt").write_text("*tags\n*labels\n", encoding="utf-8")
        state = {f"{WEIGHTS_PREFIX}{name}": value for name, value in bilm.model.state_dict().items()}
        torch.save(state, directory / WEIGHTS)
        for member in (CONFIG, vocabulary.parent.name):
            archive.add(directory / member, arcname=member)
        with open(directory / WEIGHTS, "rb") as file:
            info = archive.gettarinfo(arcname=WEIGHTS, fileobj=file)
            with progress(info.size) as advance:
                archive.addfile(info, CallbackIOWrapper(advance, file, "read"))


@contextlib.contextmanager
def open_archive(path: Union[str, Path]) -> Iterator[CheckedTar]:
    """Yield the checked members of the tar.gz at `path`.

    Raises:
        InputError: the file cannot be read or is damaged. InputErrors of the block are raised again with `path` in front.
    """
    try:
        with open(path, "rb") as file:
            yield CheckedTar(file, MAX_ARCHIVE_BYTES)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        # An error of the gzip module has no number.
        problem = f"cannot be read: {error.strerror}" if error.errno else f"must be a whole model.tar.gz: {error}"
        raise InputError(f"{path}: {problem}") from None
    except (EOFError, tarfile.TarError, zlib.error) as error:
        raise InputError(f"{path}: must be a whole model.tar.gz: {one_line_message(error)}") from None


def read_member(archive: CheckedTar, name: str, max_bytes: int) -> bytes:
    """Return the content of the file `name` in `archive`; an InputError is raised where it is missing or over `max_bytes`."""
    content = io.BytesIO()
    archive.copy(name, content, max_bytes)
    return content.getvalue()


@contextlib.contextmanager
def extract_weights(archive: CheckedTar, max_bytes: int) -> Iterator[Path]:
    """Yield the path of a temporary copy of the archive's `weights.th`, which is removed after the block.

    Raises:
        InputError: the member is missing or over `max_bytes`. InputErrors of the block are raised again with its name in front.
    """
    with tempfile.TemporaryDirectory(prefix="bilm-archive-") as directory:
        path = Path(directory) / WEIGHTS
        with open(path, "wb") as target:
            archive.copy(WEIGHTS, target, max_bytes)
        try:
            yield path
        except InputError as error:
            raise InputError(f"its `{WEIGHTS}` {error}") from None


def _read_vocabulary(archive: CheckedTar) -> list[str]:
    return parse_vocabulary(read_member(archive, VOCABULARY, MAX_VOCABULARY_BYTES), f"its `{VOCABULARY}`")


def _parse_options(config: bytes) -> BiLMOptions:
    source = f"its `{CONFIG}`"
    section: Any = parse_json_mapping(config, source).get("model")
    if not isinstance(section, dict) or section.get("type") != "bilm":
        raise InputError(f"{source} must have a `model` of type `bilm`, as pretraining writes it{_describe(section)}")
    known = {key.split(".")[0] for key in option_keys()}
    return BiLMOptions.from_dict({key: value for key, value in section.items() if key in known}, source, False)


def _describe(section: Any) -> str:
    """Return the end of the message about a `model` of another type."""
    kind = section.get("type") if isinstance(section, dict) else None
    if kind is None:
        return ""
    if kind not in _LANGUAGE_MODELS_OF_ALLENNLP:
        return f", got {truncated_repr(kind)}"
    is_transformer = "transformer" in str(section.get("contextualizer"))
    return (
        f", got {'the transformer ELMo' if is_transformer else 'a language model'} of AllenNLP, {truncated_repr(kind)}"
    )


def _training_config(options: BiLMOptions) -> dict[str, Any]:
    indexers: dict[str, Any] = {"tokens": {"type": "single_id"}}
    if options.char_cnn is not None:
        max_characters = options.char_cnn.max_characters
        indexers["characters"] = {"type": "bilm_characters", "max_characters_per_token": max_characters}
    return {
        "dataset_reader": {"type": "bilm", "token_indexers": indexers},
        "vocabulary": {"type": "bilm"},
        "model": {"type": "bilm", **options.to_dict(inference=False)},
        "data_loader": {"type": "bilm", "batch_size": 1, "num_steps": _NUM_STEPS, "shuffle": False},
    }
