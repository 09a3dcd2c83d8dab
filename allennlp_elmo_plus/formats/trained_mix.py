"""The mix of layers that a downstream model has learned, out of its archive."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.archive import (
    CONFIG,
    MAX_ARCHIVE_BYTES,
    WEIGHTS,
    content_of,
    open_archive,
)
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.modules.layer_mix import LayerMix
from allennlp_elmo_plus.storage.checked_tar import CheckedTar
from allennlp_elmo_plus.storage.finite import check_finite
from allennlp_elmo_plus.storage.json_file import MAX_JSON_BYTES, parse_json_mapping
from allennlp_elmo_plus.storage.torch_weights import read_tensors

_GAMMA = ".gamma"
_WEIGHT = ".scalar_parameters."
_ENCODER = "._encoder."


class TrainedMix(NamedTuple):
    mix: LayerMix
    encoder_weights: dict[str, Tensor]  # of the biLM below the mix, named as in a BiLMEncoder


def read_trained_mix(path: Path) -> TrainedMix:
    """The trained weights of the one mix of a token embedder "bilm" in the model.tar.gz at `path`, and the biLM's below it, which
    training may have changed (`requires_grad`). Only `config.json` and `weights.th` are read, and both are checked first
    (storage/torch_weights.py).

    Raises InputError where there is no such mix, or more than one, or it normalises layers (`do_layer_norm`): the mean and the
    variance are those of a batch then, so that a sentence has no vectors of its own.
    """
    with open_archive(path) as archive:
        if _has_layer_norm(parse_json_mapping(content_of(archive, CONFIG, MAX_JSON_BYTES), f"its `{CONFIG}`")):
            raise InputError(
                "a mix with `do_layer_norm` cannot be used, as it takes its mean and variance from a whole batch"
            )
        return _mix_in(_read_state(archive))


def _mix_in(state: Mapping[str, Tensor]) -> TrainedMix:
    names = [name for name in state if name.endswith(_GAMMA) and _owner(name, state)]
    if len(names) != 1:
        raise InputError(f"must hold the mix of one token embedder of type `bilm`, got {len(names) or 'none'}")
    gamma, prefix = names[0], names[0][: -len(_GAMMA)] + _WEIGHT
    numbers = {f"{prefix}{number}": number for number in range(len(state))}
    layers = sorted((name for name in state if name in numbers), key=numbers.__getitem__)
    for name in (gamma, *layers):
        short_name = f"the mix's `{name[len(gamma) - len(_GAMMA) + 1 :]}`"
        if state[name].numel() != 1:
            raise InputError(f"{short_name} must hold one number, got shape {tuple(state[name].shape)}")
        check_finite(state[name], short_name)
    shares = torch.softmax(torch.cat([state[name].double().flatten() for name in layers]), dim=0)
    owner = _owner(gamma, state) + _ENCODER
    return TrainedMix(
        LayerMix(tuple((float(state[gamma]) * shares).tolist())),
        {name[len(owner) :]: value for name, value in state.items() if name.startswith(owner)},
    )


def _read_state(archive: CheckedTar) -> dict[str, Tensor]:
    with tempfile.TemporaryDirectory(prefix="bilm-archive-") as directory:
        weights_file = Path(directory) / WEIGHTS
        with open(weights_file, "wb") as target:
            archive.copy(WEIGHTS, target, MAX_ARCHIVE_BYTES)
        try:
            return read_tensors(weights_file)
        except InputError as error:
            raise InputError(f"its `{WEIGHTS}` {error}") from None


def load_encoder_weights(encoder: BiLMEncoder, weights: Mapping[str, Tensor], source: str) -> None:
    """Fills every parameter of `encoder`. Raises InputError, naming it and `source`, where one has another shape, or holds values
    that are not finite.
    """
    parameters = dict(encoder.named_parameters())
    for name, parameter in parameters.items():
        found = tuple(weights[name].shape) if name in weights else None
        if found != tuple(parameter.shape):
            raise InputError(
                f"{source}: was trained over another biLM: `{name}` must have shape {tuple(parameter.shape)}, got {found}"
            )
        check_finite(weights[name], f"{source}: `{name}`")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])


def _owner(gamma: str, state: Mapping[str, Any]) -> str:
    """The embedder that the mix with this `gamma` belongs to, or "" where it belongs to none of ours."""
    if f"{gamma[: -len(_GAMMA)]}{_WEIGHT}0" not in state:
        return ""
    owner = gamma
    while "." in owner:
        owner = owner.rpartition(".")[0]
        if any(name.startswith(owner + _ENCODER) for name in state):
            return owner
    return ""


def _has_layer_norm(config: Any) -> bool:
    # Not by recursion: a config may be nested more deeply than Python calls functions.
    parts = [config]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            if part.get("do_layer_norm") is True:
                return True
            parts += part.values()
        elif isinstance(part, list):
            parts += part
    return False
