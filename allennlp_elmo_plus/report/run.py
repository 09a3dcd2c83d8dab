"""Read the config, metrics, curves, layer mixes and log of a run from its serialization directory."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.report.events import read_scalars
from allennlp_elmo_plus.storage.json_file import read_json_mapping
from allennlp_elmo_plus.storage.torch_weights import read_tensors

MAX_MESSAGES = 30
# AllenNLP's list of the namespaces that have no padding, beside the files of the namespaces.
_NAMESPACES = "non_padded_namespaces.txt"
# Of a longer log only the end is read, to bound memory.
_MAX_LOG_BYTES = 1 << 26

_EPOCH_FILE = re.compile(r"metrics_epoch_(\d+)\.json")
_MIX = re.compile(r"(.*?)\.?scalar_parameters\.(\d+)")
# AllenNLP formats each line of out.log as: time - level - logger - message.
# In distributed training the number of the process comes first.
_LOG_LINE = re.compile(r"(?:\d+ \| )?([\d-]+ [\d:]+),\d+ - (\w+) - (\S+) - (.*)")
# Distributed training has one log per process.
_LOGS = ("out.log", "out_worker0.log")
# The loggers of what a run tells about itself, each message as `name: text`: the callback "bilm_plan", its module today and the module
# in which it was before it moved, and the callback "bilm".
_PLAN_LOGGERS = (
    "allennlp_elmo_plus.plugin.training.callbacks.plan",
    "allennlp_elmo_plus.plugin.plan",
    "allennlp_elmo_plus.plugin.training.callbacks.resume",
)


class Mix(NamedTuple):
    """The learned weights with which a downstream model mixes the layers of a biLM."""

    name: str  # of the module that holds the weights
    shares: list[float]  # weight per layer after the softmax; they sum to 1
    gamma: Optional[float]


class Run(NamedTuple):
    """The content of a serialization directory; a field is empty or None where the run did not write its file."""

    directory: Path
    config: Optional[dict[str, Any]]
    final: dict[str, Any]  # metrics.json, which a finished run writes
    epochs: list[dict[str, Any]]  # metrics per epoch, sorted; the epoch's number, from 0, is `epoch`
    training: dict[str, list[tuple[float, float]]]  # TensorBoard curves by tag
    mixes: list[Mix]
    num_parameters: dict[str, int]  # "softmax" and "others"
    vocabulary: dict[str, int]  # the number of words by AllenNLP's namespace
    started: str  # date and time of the first line of the log
    plan: dict[str, str]  # what the callbacks "bilm_plan" and "bilm" logged, by the name before the colon
    messages: list[str]  # the last MAX_MESSAGES warnings and errors of the log


def read_run(directory: Path) -> Run:
    """Return the content of the serialization directory `directory`.

    Raises:
        InputError: `directory` is missing, holds no files of a run, or holds metrics or weights that cannot be read.
    """
    if not directory.is_dir():
        raise InputError(f"{directory}: there is no such directory")
    epochs = []
    for path in directory.glob("metrics_epoch_*.json"):
        match = _EPOCH_FILE.fullmatch(path.name)
        if match:
            epochs.append({**read_json_mapping(path), "epoch": int(match[1])})
    training = read_scalars(directory / "log" / "train")
    config = read_json_mapping(directory / "config.json") if (directory / "config.json").is_file() else None
    if config is None and not epochs and not training:
        raise InputError(
            f"{directory}: no `config.json`, `metrics_epoch_*.json` or events under `log`, so this is no serialization directory"
        )
    weights = _read_weights(directory)
    # Each memory once: a shared softmax is the word embedding.
    numbers = {value.data_ptr(): value.numel() for value in weights.values()}
    own = {value.data_ptr(): value.numel() for name, value in weights.items() if ".softmax." not in name}
    log = _read_log(directory)
    return Run(
        directory,
        config,
        read_json_mapping(directory / "metrics.json") if (directory / "metrics.json").is_file() else {},
        sorted(epochs, key=lambda metrics: metrics["epoch"]),
        training,
        find_mixes(weights),
        {"softmax": sum(numbers.values()) - sum(own.values()), "others": sum(own.values())} if weights else {},
        {
            path.stem: _num_lines(path)
            for path in sorted(directory.glob("vocabulary/*.txt"))
            if path.name != _NAMESPACES
        },
        *log,
    )


def _read_weights(directory: Path) -> Mapping[str, Tensor]:
    """Return the best weights, or, if there are no best weights, those of the newest checkpoint, or nothing.

    Raises:
        InputError: the file of the weights cannot be read.
    """
    checkpoints = sorted(directory.glob("model_state_*.th"), key=lambda path: path.stat().st_mtime)
    candidates = [path for path in (directory / "best.th", directory / "weights.th") if path.is_file()]
    candidates += reversed(checkpoints)
    if not candidates:
        return {}
    try:
        # Memory-mapped: of a large model, only the few numbers of the mixes are read.
        return read_tensors(candidates[0])
    except InputError as error:
        raise InputError(f"{candidates[0]}: {error}") from None


def _num_lines(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(1 for _ in file)


def find_mixes(state: Mapping[str, Tensor]) -> list[Mix]:
    """Return the scalar mixes (AllenNLP's `ScalarMix`) among the weights `state`, sorted by name."""
    weights: dict[str, dict[int, float]] = {}
    for name, value in state.items():
        match = _MIX.fullmatch(name)
        if match and value.numel() == 1:
            weights.setdefault(match[1], {})[int(match[2])] = float(value)
    mixes = []
    for name, layers in sorted(weights.items()):
        raw = torch.tensor([layers[layer] for layer in sorted(layers)], dtype=torch.float64)
        tensor = state.get(f"{name}.gamma" if name else "gamma")
        gamma = float(tensor) if tensor is not None and tensor.numel() == 1 else None
        mixes.append(Mix(name or "scalar mix", torch.softmax(raw, 0).tolist(), gamma))
    return mixes


def _read_log(directory: Path) -> tuple[str, dict[str, str], list[str]]:
    """Return when the log starts, what the run logged about itself, and the last lines of warnings and errors."""
    started = ""
    plan: dict[str, str] = {}
    messages: list[str] = []
    for path in (directory / name for name in _LOGS):
        for line in _last_lines(path):
            match = _LOG_LINE.fullmatch(line)
            if not match:
                continue
            time, level, logger, message = match.groups()
            started = started or time
            if logger in _PLAN_LOGGERS and level == "INFO":
                name, _, text = message.partition(": ")
                plan[name] = text
            elif level in ("WARNING", "ERROR", "CRITICAL"):
                messages.append(line)
    return started, plan, messages[-MAX_MESSAGES:]


def _last_lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - _MAX_LOG_BYTES))
        return file.read().decode("utf-8", "replace").splitlines()
