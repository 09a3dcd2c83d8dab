"""The mix of layers that a downstream model has learned, out of its archive."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .archive import CONFIG, MAX_ARCHIVE_BYTES, WEIGHTS, content_of, open_archive
from .errors import InputError
from .json_file import MAX_JSON_BYTES, parse_json_mapping
from .layer_output import LayerMix
from .representation import BiLMEncoder
from .tar_members import CheckedTar

_GAMMA = ".gamma"
_WEIGHT = ".scalar_parameters."
_ENCODER = "._encoder."


class TrainedMix(NamedTuple):
    mix: LayerMix
    encoder_weights: dict[str, Tensor]  # of the biLM below the mix, named as in a BiLMEncoder


def read_trained_mix(path: Path) -> TrainedMix:
    """
    The trained weights of the one mix of a token embedder "bilm" in the model.tar.gz at `path`, and the biLM's below it, which
    training may have changed (`requires_grad`). Only `config.json` and `weights.th` are read, the weights as tensors alone.

    Raises InputError where there is no such mix, or more than one, or it normalises layers (`do_layer_norm`): the mean and the
    variance are those of a batch then, so that a sentence has no vectors of its own.
    """
    with open_archive(path) as archive:
        if _has_layer_norm(parse_json_mapping(content_of(archive, CONFIG, MAX_JSON_BYTES), f"its `{CONFIG}`")):
            raise InputError(
                "a mix with `do_layer_norm` cannot be used, as it takes its mean and variance from a whole batch"
            )
        state = _read_state(archive)
    names = [name for name in state if name.endswith(_GAMMA) and _owner(name, state)]
    if len(names) != 1:
        raise InputError(
            f"{path}: must hold the mix of one token embedder of type `bilm`, got {', '.join(names) or 'none'}"
        )
    prefix = names[0][: -len(_GAMMA)] + _WEIGHT
    layers = sorted((name for name in state if name.startswith(prefix)), key=lambda name: int(name[len(prefix) :]))
    shares = torch.softmax(torch.cat([state[name].double().flatten() for name in layers]), dim=0)
    owner = _owner(names[0], state) + _ENCODER
    return TrainedMix(
        LayerMix(tuple((float(state[names[0]]) * shares).tolist())),
        {name[len(owner) :]: value for name, value in state.items() if name.startswith(owner)},
    )


def _read_state(archive: CheckedTar) -> dict[str, Tensor]:
    with tempfile.TemporaryDirectory(prefix="bilm-archive-") as directory:
        weights_file = Path(directory) / WEIGHTS
        with open(weights_file, "wb") as target:
            archive.copy(WEIGHTS, target, MAX_ARCHIVE_BYTES)
        try:
            state = torch.load(weights_file, map_location="cpu", weights_only=True)
            return {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
        except Exception as error:  # Whatever a damaged file leads torch.load to.
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"its `{WEIGHTS}` cannot be read as weights: {reason}") from None


def load_encoder_weights(encoder: BiLMEncoder, weights: Mapping[str, Tensor], source: str) -> None:
    """Fills every parameter of `encoder`. Raises InputError, naming it and `source`, where one has another shape."""
    parameters = dict(encoder.named_parameters())
    for name, parameter in parameters.items():
        found = tuple(weights[name].shape) if name in weights else None
        if found != tuple(parameter.shape):
            raise InputError(
                f"{source}: was trained over another biLM: `{name}` must have shape {tuple(parameter.shape)}, got {found}"
            )
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
    if isinstance(config, dict):
        return config.get("do_layer_norm") is True or any(map(_has_layer_norm, config.values()))
    return isinstance(config, list) and any(map(_has_layer_norm, config))
