"""Choose the curves of a run, or of several, and draw a chart for each kind."""

import sys
from collections.abc import Mapping
from html import escape
from typing import Any

from allennlp_elmo_plus.report.chart import Curve, line_chart
from allennlp_elmo_plus.report.run import Run

# Curves of TensorBoard: tag, heading, label of the y axis.
_BATCH_CURVES = (
    ("train/batch_loss", "Training loss of a batch", "nats per target"),
    ("train/batch_tokens_per_second", "Speed of training so far in the epoch", "tokens per second"),
    ("train/batch_gradient_norm", "Gradient norm before the clip", "norm"),
    ("gradient_norm", "Gradient norm before the clip", "norm"),
    ("train/batch_memory_MB", "Memory", "MB"),
)
_LOSS, _MEAN_LOSS = "train/batch_loss", "train/batch_loss_mov_avg"
_NOT_DRAWN = ("epoch", "epochs", "duration", "start_epoch")
_PARTS = ("training", "validation")


def epoch_charts(runs: Mapping[str, Run]) -> list[str]:
    """Return the charts by epoch of `runs`, which are given by their names.

    Of one run there is a chart per metric, training and validation together, and one per kind of perplexity. Of several runs there
    is a chart per metric, with a curve per run, training and validation apart.
    """
    keys = [
        key
        for key in dict.fromkeys(key for run in runs.values() for metrics in run.epochs for key in metrics)
        if key.partition("_")[0] in _PARTS and _name(key) not in _NOT_DRAWN
    ]
    names = list(dict.fromkeys(map(_name, keys)))
    perplexities = [name for name in names if name.endswith("perplexity")]
    sampled = [name for name in perplexities if "sampled" in name]
    loss = ("Loss: training sampled, validation exact", "nats per target") if sampled else ("Loss", "loss")
    groups = [
        ("Perplexity, exact", "perplexity", [name for name in perplexities if name not in sampled]),
        ("Perplexity, sampled: not comparable with the exact one", "perplexity", sampled),
        (*loss, ["loss"]),
        ("Speed, compiling left out", "tokens per second", ["tokens_per_second"]),
        ("Most memory so far", "MB", [name for name in names if name.endswith("_memory_MB")]),
    ]
    grouped = {name for *_, group in groups for name in group}
    groups += [(name, name, [name]) for name in names if name not in grouped]
    charts = []
    for heading, label, group in groups:
        keys_of_group = [key for name in group for part in _PARTS if (key := f"{part}_{name}") in keys]
        if len(runs) == 1:
            (run,) = runs.values()
            charts.append(_card(heading, {_words(key): _by_epoch(run, key) for key in keys_of_group}, "epoch", label))
        else:
            charts += [
                _card(_words(key), {name: _by_epoch(run, key) for name, run in runs.items()}, "epoch", label)
                for key in keys_of_group
            ]
    return charts


def batch_charts(runs: Mapping[str, Run]) -> list[str]:
    """Return the charts by batch of `runs`, which are given by their names, from TensorBoard's curves."""
    charts = []
    for tag, heading, label in _BATCH_CURVES:
        curves = {name: run.training.get(tag, []) for name, run in runs.items()}
        if tag == _LOSS and len(runs) == 1:
            (run,) = runs.values()
            curves = {"batch": run.training.get(tag, []), "mean of the last hundred": run.training.get(_MEAN_LOSS, [])}
        charts.append(_card(heading, curves, "batch", label))
    return charts


def _card(heading: str, curves: Mapping[str, list[tuple[float, float]]], x_label: str, y_label: str) -> str:
    chart = line_chart([Curve(*curve) for curve in curves.items()], x_label, y_label)
    return f'<div class="card"><h3>{escape(heading[:1].upper() + heading[1:])}</h3>{chart}</div>' if chart else ""


def _by_epoch(run: Run, key: str) -> list[tuple[float, float]]:
    return [(metrics["epoch"] + 1.0, float(metrics[key])) for metrics in run.epochs if _is_number(metrics.get(key))]


def _name(key: str) -> str:
    return key.partition("_")[2]


def _words(key: str) -> str:
    return key.replace("_", " ")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
