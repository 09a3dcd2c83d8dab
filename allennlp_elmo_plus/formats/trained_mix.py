"""Read the layer mix that a downstream model has learned from the model's archive."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.archive import CONFIG, MAX_ARCHIVE_BYTES, extract_weights, open_archive, read_member
from allennlp_elmo_plus.modules.layer_mix import LayerMix
from allennlp_elmo_plus.storage.json_file import MAX_JSON_BYTES, parse_json_mapping
from allennlp_elmo_plus.storage.torch_weights import check_finite, read_tensors

_GAMMA = ".gamma"
_WEIGHT = ".scalar_parameters."
_ENCODER = "._encoder."


class TrainedMix(NamedTuple):
    """A learned mix, and the weights of its biLM, which training may have changed (`requires_grad`)."""

    mix: LayerMix
    encoder_weights: dict[str, Tensor]  # by their names in a BiLMEncoder


def read_trained_mix(path: Path) -> TrainedMix:
    """Return the only mix of a token embedder "bilm" in the model.tar.gz at `path`.

    Only `config.json` and `weights.th` are read, and both are checked first (storage/torch_weights.py).

    Raises:
        InputError: the archive holds no such mix or several, or the mix normalises layers (`do_layer_norm`): mean and variance
            are then those of a whole batch, so a sentence has no vectors of its own.
    """
    with open_archive(path) as archive:
        if _has_layer_norm(parse_json_mapping(read_member(archive, CONFIG, MAX_JSON_BYTES), f"its `{CONFIG}`")):
            raise InputError(
                "a mix with `do_layer_norm` cannot be used, as it takes its mean and variance from a whole batch"
            )
        with extract_weights(archive, MAX_ARCHIVE_BYTES) as weights_file:
            state = read_tensors(weights_file)
        return _find_mix(state)


def _find_mix(state: Mapping[str, Tensor]) -> TrainedMix:
    names = [name for name in state if name.endswith(_GAMMA) and _embedder_of(name, state)]
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
    encoder = _embedder_of(gamma, state) + _ENCODER
    return TrainedMix(
        LayerMix(tuple((float(state[gamma]) * shares).tolist())),
        {name[len(encoder) :]: value for name, value in state.items() if name.startswith(encoder)},
    )


def _embedder_of(gamma: str, state: Mapping[str, Any]) -> str:
    """Return the name of the "bilm" embedder whose mix has this `gamma`, or "" for the mix of another module."""
    if f"{gamma[: -len(_GAMMA)]}{_WEIGHT}0" not in state:
        return ""
    embedder = gamma
    while "." in embedder:
        embedder = embedder.rpartition(".")[0]
        if any(name.startswith(embedder + _ENCODER) for name in state):
            return embedder
    return ""


def _has_layer_norm(config: Any) -> bool:
    # Without recursion, because a config may be nested more deeply than Python's stack allows.
    parts = [config]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            if part.get("do_layer_norm"):
                return True
            parts += part.values()
        elif isinstance(part, list):
            parts += part
    return False
