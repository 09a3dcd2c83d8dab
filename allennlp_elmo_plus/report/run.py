"""What a serialization directory holds of a run."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.report.events import Scalar, read_scalars

MAX_MESSAGES = 30
# A file that is not one of AllenNLP's should not take all memory.
_MAX_LOG_BYTES = 1 << 26
_MAX_JSON_BYTES = 1 << 26

_EPOCH_FILE = re.compile(r"metrics_epoch_(\d+)\.json")
_MIX = re.compile(r"(.*?)\.?scalar_parameters\.(\d+)")
# As AllenNLP formats out.log: time - level - logger - message.
_LOG_LINE = re.compile(r"[\d-]+ [\d:,]+ - (\w+) - (\S+) - (.*)")
_PLAN_LOGGER = "allennlp_elmo_plus.plugin.training.callbacks.plan"


class Mix(NamedTuple):
    """How a downstream model mixes a biLM's layers."""

    name: str  # of the module that holds the weights
    shares: list[float]  # of each layer, after the softmax
    gamma: Optional[float]


class Run(NamedTuple):
    """Everything is empty or None where the run has not written it."""

    directory: Path
    config: Optional[dict[str, Any]]
    final: dict[str, Any]  # metrics.json, of a run that has ended
    epochs: list[dict[str, Any]]  # the metrics of each epoch, with its number as `epoch`
    training: dict[str, list[Scalar]]
    validation: dict[str, list[Scalar]]
    mixes: list[Mix]
    plan: list[str]  # what the callback "bilm_plan" logged
    messages: list[str]  # warnings and errors of out.log, the last MAX_MESSAGES


def read_run(directory: Path) -> Run:
    """Raises `InputError` for a directory in which no run has left anything, and for a file of metrics that is not JSON."""
    if not directory.is_dir():
        raise InputError(f"{directory}: there is no such directory")
    epochs = []
    for path in directory.glob("metrics_epoch_*.json"):
        found = _EPOCH_FILE.fullmatch(path.name)
        if found:
            epochs.append({**_read_json(path), "epoch": int(found[1])})
    training, validation = (read_scalars(directory / "log" / part) for part in ("train", "validation"))
    config = _read_json(directory / "config.json") if (directory / "config.json").is_file() else None
    if config is None and not epochs and not training:
        raise InputError(
            f"{directory}: no `config.json`, `metrics_epoch_*.json` or events under `log`, so this is no serialization directory"
        )
    plan, messages = _read_log(directory / "out.log")
    return Run(
        directory,
        config,
        _read_json(directory / "metrics.json") if (directory / "metrics.json").is_file() else {},
        sorted(epochs, key=lambda metrics: metrics["epoch"]),
        training,
        validation,
        _read_mixes(directory),
        plan,
        messages[-MAX_MESSAGES:],
    )


def _read_json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _MAX_JSON_BYTES:
        raise InputError(f"{path}: must be at most {_MAX_JSON_BYTES:,} bytes of JSON")
    try:
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: must be JSON in UTF-8: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: must hold a JSON object")
    return content


def _read_mixes(directory: Path) -> list[Mix]:
    """From the best weights, or else from those of the last checkpoint."""
    checkpoints = sorted(directory.glob("model_state_*.th"), key=lambda path: path.stat().st_mtime)
    candidates = [path for path in (directory / "best.th", directory / "weights.th") if path.is_file()]
    candidates += reversed(checkpoints)
    if not candidates:
        return []
    try:
        # Mapped: of a large model, only the few numbers of the mixes are read.
        state = torch.load(candidates[0], map_location="cpu", weights_only=True, mmap=True)
        return find_mixes(state)
    except Exception as error:  # a damaged file makes torch raise nearly anything
        raise InputError(f"{candidates[0]}: cannot be read as weights: {' '.join(str(error).split())[:200]}") from None


def find_mixes(state: dict[str, Any]) -> list[Mix]:
    """The scalar mixes (AllenNLP's `ScalarMix`) among a model's weights, in the order of their names."""
    weights: dict[str, dict[int, float]] = {}
    for name, value in state.items():
        found = _MIX.fullmatch(name)
        if found:
            weights.setdefault(found[1], {})[int(found[2])] = float(value)
    mixes = []
    for name, layers in sorted(weights.items()):
        raw = torch.tensor([layers[layer] for layer in sorted(layers)], dtype=torch.float64)
        gamma = state.get(f"{name}.gamma" if name else "gamma")
        mixes.append(Mix(name or "scalar mix", torch.softmax(raw, 0).tolist(), None if gamma is None else float(gamma)))
    return mixes


def _read_log(path: Path) -> tuple[list[str], list[str]]:
    plan: list[str] = []
    messages: list[str] = []
    if not path.is_file():
        return plan, messages
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - _MAX_LOG_BYTES))
        for line in file.read().decode("utf-8", "replace").splitlines():
            found = _LOG_LINE.fullmatch(line)
            if not found:
                continue
            level, logger, message = found.groups()
            if logger == _PLAN_LOGGER and level == "INFO":
                plan.append(message)
            elif level in ("WARNING", "ERROR", "CRITICAL"):
                messages.append(line)
    return plan, messages
