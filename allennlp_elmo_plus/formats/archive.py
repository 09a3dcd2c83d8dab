"""The options, the vocabulary and the weights inside a `model.tar.gz` that pretraining with AllenNLP leaves behind."""

import contextlib
import dataclasses
import io
import os
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Union

import torch
from torch import Tensor, nn

from allennlp_elmo_plus.data.text.vocabulary import MAX_VOCABULARY_BYTES, parse_vocabulary
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.modules.build import language_model_shapes
from allennlp_elmo_plus.options.bilm_options import MAX_PARAMETERS, BiLMOptions, option_keys
from allennlp_elmo_plus.storage.checked_tar import CheckedTar
from allennlp_elmo_plus.storage.finite import check_finite
from allennlp_elmo_plus.storage.json_file import MAX_JSON_BYTES, parse_json_mapping
from allennlp_elmo_plus.storage.torch_weights import read_state

# Double precision, the widest that weights come in.
MAX_ARCHIVE_BYTES = 8 * MAX_PARAMETERS

CONFIG = "config.json"
VOCABULARY = "vocabulary/tokens.txt"
WEIGHTS = "weights.th"
_PREFIX = "language_model."

# Of a file of weights, beside the weights: names and shapes.
_MAX_DESCRIPTION_BYTES = 2**20


class ArchivedModel(NamedTuple):
    """What pretraining left: `vocabulary` in bilm-tf's order, and `weights`, on disk until they are used, named as below a
    LanguageModel of these options.
    """

    options: BiLMOptions
    vocabulary: list[str]
    weights: dict[str, Tensor]


def is_archive(path: Union[str, Path]) -> bool:
    """Whether the file at `path` is compressed as an archive is. By its first bytes, as a downloaded file may lose its
    name.
    """
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"\x1f\x8b"
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def read_archive(path: Union[str, Path]) -> ArchivedModel:
    """The biLM in the archive at `path`, whoever made it: nothing in an archive is run, and nothing is written but its weights, to
    a temporary file that is gone when this returns.

    Every member is checked first (storage/checked_tar.py). Then `config.json` is read as JSON, of which the `model` section
    must be a `bilm`; `vocabulary/tokens.txt`; and `weights.th`, whose tensors must be exactly those of these options and this
    vocabulary before any is loaded (storage/torch_weights.py). `options` come back with `n_tokens_vocab`.

    Raises InputError where the file is no such archive, is damaged, or holds another kind of model.
    """
    with open_archive(path) as archive:
        options = _options(content_of(archive, CONFIG, MAX_JSON_BYTES))
        words = vocabulary_of(archive)
        shapes = language_model_shapes(options, len(words))
        options = dataclasses.replace(options, n_tokens_vocab=len(words))
        num_bytes = 8 * sum(options.parameter_counts().values()) + _MAX_DESCRIPTION_BYTES
        with tempfile.TemporaryDirectory(prefix="bilm-archive-") as directory:
            weights_file = Path(directory) / WEIGHTS
            with open(weights_file, "wb") as target:
                archive.copy(WEIGHTS, target, num_bytes)
            try:
                state = read_state(weights_file, {f"{_PREFIX}{name}": shape for name, shape in shapes.items()})
            except InputError as error:
                raise InputError(f"its `{WEIGHTS}` {error}") from None
    return ArchivedModel(options, words, {name: state[f"{_PREFIX}{name}"] for name in shapes})


def load_archived_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Fills every parameter of `model`, which has `token_encoder` and `bilm`, from an archive's weights.

    Raises InputError, naming the parameter and `source`, where one is missing, has another shape, or holds values that are
    not finite.
    """
    parameters = dict(model.named_parameters())
    for name, parameter in parameters.items():
        found = tuple(weights[name].shape) if name in weights else None
        if found != tuple(parameter.shape):
            raise InputError(
                f"{source}: `{_PREFIX}{name}` must have shape {tuple(parameter.shape)} by the options, got {found}"
            )
        check_finite(weights[name], f"{source}: `{_PREFIX}{name}`")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])


@contextlib.contextmanager
def open_archive(path: Union[str, Path]) -> Iterator[CheckedTar]:
    """The members of the tar.gz at `path`, checked; whatever is wrong with it is raised as an InputError that names `path`."""
    with _damage_named(path), open(path, "rb") as file:
        yield CheckedTar(file, MAX_ARCHIVE_BYTES)


def content_of(archive: CheckedTar, name: str, max_bytes: int) -> bytes:
    """Raises InputError where the file `name` is missing or over `max_bytes`."""
    content = io.BytesIO()
    archive.copy(name, content, max_bytes)
    return content.getvalue()


def vocabulary_of(archive: CheckedTar) -> list[str]:
    """The vocabulary of pretraining, in bilm-tf's order."""
    return parse_vocabulary(content_of(archive, VOCABULARY, MAX_VOCABULARY_BYTES), f"its `{VOCABULARY}`")


def _options(config: bytes) -> BiLMOptions:
    source = f"its `{CONFIG}`"
    section: Any = parse_json_mapping(config, source).get("model")
    if not isinstance(section, dict) or section.get("type") != "bilm":
        raise InputError(f"{source} must have a `model` of type `bilm`, as pretraining writes it")
    known = {key.split(".")[0] for key in option_keys()}
    return BiLMOptions.from_dict({key: value for key, value in section.items() if key in known}, source, False)


@contextlib.contextmanager
def _damage_named(path: Union[str, "os.PathLike[str]"]) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        # gzip's own has no number.
        problem = f"cannot be read: {error.strerror}" if error.errno else f"must be a whole model.tar.gz: {error}"
        raise InputError(f"{path}: {problem}") from None
    except (EOFError, tarfile.TarError, zlib.error) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: must be a whole model.tar.gz: {reason}") from None
