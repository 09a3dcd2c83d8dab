"""The facts about a run that fit into a line each: its results, its size, its text, when and how it was started."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from allennlp_elmo_plus.errors import count_in_words
from allennlp_elmo_plus.report.chart import format_number
from allennlp_elmo_plus.report.run import Run

# Metrics by their names in the order of importance.
_RESULTS = {
    "best_validation_perplexity": "best held-out perplexity, exact",
    "best_validation_forward_perplexity": "forward",
    "best_validation_backward_perplexity": "backward",
    "best_validation_accuracy": "best held-out accuracy",
    "best_validation_loss": "best held-out loss",
    "training_tokens_per_second": "tokens per second, last epoch",
}
_TEXTS = {"train_data_path": "text", "validation_data_path": "held-out text", "test_data_path": "test text"}


def results(run: Run) -> dict[str, str]:
    """Return the main metrics of `run`, each with its label."""
    metrics = {**(run.epochs[-1] if run.epochs else {}), **run.final}
    labelled = {
        label: format_number(metrics[key])
        for key, label in _RESULTS.items()
        if isinstance(metrics.get(key), (int, float))
    }
    if "best_validation_perplexity" in metrics:
        # The logarithm of the perplexity.
        labelled.pop("best held-out loss", None)
    if isinstance(metrics.get("best_epoch"), int):
        labelled["best epoch"] = str(metrics["best_epoch"] + 1)
    if isinstance(metrics.get("training_duration"), str):
        labelled["training time"] = metrics["training_duration"].split(".")[0]
    return labelled


def facts(run: Run) -> dict[str, str]:
    """Return what `run` was: its size, text and vocabulary, its dates, and what it logged about itself, each with its label."""
    config = run.config or {}
    labelled = {
        "state": state(run),
        "started": run.started,
        "parameters": _parameters(run.num_parameters),
        "vocabulary": ", ".join(f"{number:,} {name}" for name, number in run.vocabulary.items()),
        **{label: _as_text(config[key]) for key, label in _TEXTS.items() if config.get(key) is not None},
        **run.plan,
    }
    return {label: value for label, value in labelled.items() if value}


def state(run: Run) -> str:
    """Return whether `run` has finished, and the number of its epochs."""
    epochs = count_in_words(len(run.epochs), "epoch")
    return (
        f"finished; {epochs} of metrics" if run.final else f"not finished, or interrupted; {epochs} of metrics so far"
    )


def differing_settings(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the settings that differ between `configs`: the path of each, with its value in each config."""
    flat = [dict(_settings(config)) for config in configs]
    paths = dict.fromkeys(path for settings in flat for path in settings)
    values = {path: [settings.get(path, "") for settings in flat] for path in paths}
    return {path: row for path, row in values.items() if len(set(row)) > 1}


def _settings(value: Any, path: str = "") -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        return [
            setting for key, inner in value.items() for setting in _settings(inner, f"{path}.{key}" if path else key)
        ]
    return [(path, _as_text(value))]


def _parameters(by_part: Mapping[str, int]) -> str:
    softmax = by_part.get("softmax", 0)
    total = sum(by_part.values())
    return f"{total:,}" + (f"; {total - softmax:,} without the softmax" if softmax else "") if total else ""


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
