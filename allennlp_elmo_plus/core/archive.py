"""The options and weights inside a `model.tar.gz` that pretraining with AllenNLP leaves behind."""

import contextlib
import dataclasses
import json
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Union

import torch
from torch import Tensor, nn

from .errors import InputError
from .json_file import MAX_JSON_BYTES
from .options import MAX_PARAMETERS, BiLMOptions, option_keys

_PREFIX = "language_model."
_WORD_EMBEDDING = "token_encoder.embedding"


class ArchivedModel(NamedTuple):
    """What pretraining left: `weights` are named as below a LanguageModel."""

    options: BiLMOptions
    weights: dict[str, Tensor]


def is_archive(path: Union[str, Path]) -> bool:
    """
    Whether the file at `path` is compressed as an archive is. By its first bytes, as a downloaded file may lose its
    name.
    """
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"\x1f\x8b"
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def read_archive(path: Union[str, Path]) -> ArchivedModel:
    """
    The options in the `model` section of the archive's `config.json`, and the weights of its biLM.

    Only `config.json` and `weights.th` are read, and the weights as tensors alone (`weights_only`): nothing in an
    archive is run. For word input the vocabulary's size is that of the weights.

    Raises InputError where the file is no such archive, is damaged, or holds another kind of model.
    """
    with tempfile.TemporaryDirectory() as directory, _damage_named(path):
        with tarfile.open(path, "r:gz") as archive:
            section = _model_section(_extract(archive, "config.json", directory, MAX_JSON_BYTES))
            weights_file = _extract(archive, "weights.th", directory, 8 * MAX_PARAMETERS)
        try:
            state = torch.load(weights_file, map_location="cpu", weights_only=True)
            weights = {name[len(_PREFIX) :]: value for name, value in state.items() if name.startswith(_PREFIX)}
        except Exception as error:  # Whatever a damaged file leads torch.load to.
            raise InputError(f"its `weights.th` cannot be read as weights: {_one_line(error)}") from None
        options = BiLMOptions.from_dict(section, "its `config.json`", inference=False)
    if _WORD_EMBEDDING in weights:
        options = dataclasses.replace(options, n_tokens_vocab=len(weights[_WORD_EMBEDDING]))
    return ArchivedModel(options, weights)


def load_archived_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """
    Fills every parameter of `model`, which has `token_encoder` and `bilm`, from an archive's weights.

    Raises InputError, naming the parameter and `source`, where one is missing or has another shape.
    """
    parameters = dict(model.named_parameters())
    for name, parameter in parameters.items():
        found = tuple(weights[name].shape) if name in weights else None
        if found != tuple(parameter.shape):
            raise InputError(
                f"{source}: `{_PREFIX}{name}` must have shape {tuple(parameter.shape)} by the options, got {found}"
            )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])


def _extract(archive: tarfile.TarFile, name: str, directory: str, max_bytes: int) -> Path:
    try:
        member = archive.getmember(name)
    except KeyError:
        raise InputError(f"holds no `{name}`") from None
    content = archive.extractfile(member) if member.isreg() else None
    if content is None or member.size > max_bytes:
        raise InputError(f"its `{name}` must be a file of at most {max_bytes:,} bytes, got {member.size:,}")
    target = Path(directory) / name
    with content, open(target, "wb") as file:
        shutil.copyfileobj(content, file)
    return target


def _model_section(config_file: Path) -> dict[str, Any]:
    try:
        section = json.loads(config_file.read_text(encoding="utf-8"))["model"]
        is_bilm = section["type"] == "bilm"
    except (ValueError, KeyError, TypeError, RecursionError):
        is_bilm = False
    if not is_bilm:
        raise InputError("its `config.json` must have a `model` of type `bilm`, as pretraining writes it")
    known = {key.split(".")[0] for key in option_keys()}
    return {key: value for key, value in section.items() if key in known}


@contextlib.contextmanager
def _damage_named(path: Union[str, Path]) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise InputError(f"{path}: must be a whole model.tar.gz: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
