"""Write the HTML of the page."""

import json
import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, Optional

from allennlp_elmo_plus.errors import count_in_words
from allennlp_elmo_plus.report.chart import NUM_COLOURS, Curve, bar_chart, format_number, line_chart
from allennlp_elmo_plus.report.run import Mix, Run

_LIGHT = ("#0b62a8", "#d1495b", "#2f7d4f", "#8a5a00", "#6d4bab", "#4a5560")
_DARK = ("#6cb4ee", "#f08a97", "#7fd1a0", "#e0b25a", "#b79df0", "#aab4bf")

_STYLE = """
:root { color-scheme: light dark; --back: #fff; --card: #f6f7f9; --text: #1b1f24; --soft: #5b6570; --line: #dfe3e8; %s }
@media (prefers-color-scheme: dark) {
  :root { --back: #14171b; --card: #1d2127; --text: #e7eaee; --soft: #9aa4af; --line: #323942; %s }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 76rem; background: var(--back); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; } h3 { font-size: 1rem; margin: 0 0 .4rem; }
p { margin: .3rem 0; } .soft { color: var(--soft); }
.tiles, .charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); margin-top: 1rem; }
.charts { grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%%), 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem; margin: 0; min-width: 0; }
.tiles b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
svg { width: 100%%; height: auto; display: block; } svg text { fill: var(--text); font: 13px system-ui, sans-serif; }
svg .tick { fill: var(--soft); font-size: 12px; } .grid { stroke: var(--line); } .axis { stroke: var(--soft); }
.curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .85rem; }
.legend i { display: inline-block; width: 1.1em; height: .35em; margin-right: .4em; border-radius: 2px; vertical-align: middle; }
table { border-collapse: collapse; width: 100%%; font-size: .9rem; } td, th { text-align: left; vertical-align: top;
  padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--line); } .number { font-variant-numeric: tabular-nums; }
mark { background: none; color: inherit; font-weight: 700; text-decoration: underline; }
pre { overflow-x: auto; font: .85rem/1.45 ui-monospace, monospace; margin: .5rem 0 0; } summary { cursor: pointer; }
"""

# Curves of TensorBoard: tag, heading, label of the y axis.
_BATCH_CURVES = (
    ("train/batch_loss", "Training loss of a batch", "nats per target"),
    ("train/batch_tokens_per_second", "Speed", "tokens per second"),
    ("train/batch_gradient_norm", "Gradient norm before the clip", "norm"),
    ("gradient_norm", "Gradient norm before the clip", "norm"),
    ("train/batch_memory_MB", "Memory", "MB"),
)
_KEYS_NOT_DRAWN = ("epoch", "epochs", "duration", "start_epoch")


def report_page(run: Run, neighbors: Optional[list[dict[str, Any]]] = None) -> str:
    """Return the HTML of one run.

    All text of the run is escaped, and the page's Content-Security-Policy forbids scripts and everything from other places.

    Args:
        run: the content of the run's serialization directory.
        neighbors: the queries with their neighbours, as `allennlp elmo-neighbors --output` writes them.
    """
    title = escape(run.directory.resolve().name)
    sections = [
        f'<h1>{title}</h1><p class="soft">{escape(_state(run))}</p>',
        _tiles(run),
        _section("Epochs", "charts", _epoch_charts(run)),
        _section("Batches", "charts", _batch_charts(run)),
        _section("How the layers are mixed", "charts", [_mix_card(mix) for mix in run.mixes]),
        _section("Nearest neighbours", "", [_neighbor_table(query) for query in neighbors or []]),
        _section("Plan", "card", [f"<p>{escape(line)}</p>" for line in run.plan]),
        _section("Warnings and errors", "card", [_preformatted(run.messages)] if run.messages else []),
        _section("Config", "card", [_config(run.config)] if run.config is not None else []),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_style()}</style></head><body>\n"
        + "\n".join(filter(None, sections))
        + "\n</body></html>\n"
    )


def _style() -> str:
    def palette(colours: Sequence[str]) -> str:
        return " ".join(f"--c{number}: {colour};" for number, colour in enumerate(colours))

    classes = "".join(
        f".c{number} {{ fill: var(--c{number}); background: var(--c{number}); }} "
        f".curve.c{number} {{ fill: none; background: none; stroke: var(--c{number}); }}\n"
        for number in range(NUM_COLOURS)
    )
    return _STYLE % (palette(_LIGHT), palette(_DARK)) + classes


def _section(heading: str, css_class: str, parts: Iterable[str]) -> str:
    content = "".join(parts)
    if content and css_class:
        content = f'<div class="{css_class}">{content}</div>'
    return f"<h2>{escape(heading)}</h2>{content}" if content else ""


def _state(run: Run) -> str:
    if run.final:
        return f"Finished; {count_in_words(len(run.epochs), 'epoch')} of metrics."
    return f"Not finished, or interrupted; {count_in_words(len(run.epochs), 'epoch')} of metrics so far."


def _tiles(run: Run) -> str:
    last = run.epochs[-1] if run.epochs else {}
    metrics = {**last, **run.final}
    tiles: list[tuple[str, str]] = []

    def add(label: str, key: str, unit: str = "") -> None:
        if isinstance(metrics.get(key), (int, float)):
            tiles.append((label, format_number(metrics[key]) + unit))

    add("best held-out perplexity, exact", "best_validation_perplexity")
    add("forward", "best_validation_forward_perplexity")
    add("backward", "best_validation_backward_perplexity")
    add("best held-out accuracy", "best_validation_accuracy")
    add("best held-out loss", "best_validation_loss")
    add("tokens per second, last epoch", "training_tokens_per_second")
    if isinstance(metrics.get("best_epoch"), int):
        tiles.append(("best epoch", str(metrics["best_epoch"] + 1)))
    if isinstance(metrics.get("training_duration"), str):
        tiles.append(("time", metrics["training_duration"].split(".")[0]))
    cards = [
        f'<p class="card"><b>{escape(value)}</b><span class="soft">{escape(label)}</span></p>' for label, value in tiles
    ]
    return f'<div class="tiles">{"".join(cards)}</div>' if cards else ""


def _epoch_charts(run: Run) -> list[str]:
    """Return one chart per metric, training and validation together, and one per kind of perplexity."""
    names: dict[str, None] = {}
    for metrics in run.epochs:
        for key, value in metrics.items():
            part, _, name = key.partition("_")
            if part in ("training", "validation") and _is_number(value) and name not in _KEYS_NOT_DRAWN:
                names.setdefault(name)
    perplexities = [name for name in names if name.endswith("perplexity")]
    exact = [name for name in perplexities if "sampled" not in name]
    sampled = [name for name in perplexities if "sampled" in name]
    memory = [name for name in names if name.endswith("_memory_MB")]
    loss = ("Loss: training sampled, validation exact", "nats per target") if sampled else ("Loss", "loss")
    charts = [
        ("Perplexity, exact", "perplexity", exact),
        ("Perplexity, sampled: far below the exact one", "perplexity", sampled),
        (*loss, ["loss"]),
        ("Speed", "tokens per second", ["tokens_per_second"]),
        ("Most memory so far", "MB", memory),
    ]
    drawn = {name for *_, drawn_names in charts for name in drawn_names}
    charts += [(name, name, [name]) for name in names if name not in drawn]
    return [_card(heading, _curves_of(run, curves), "epoch", label) for heading, label, curves in charts]


def _curves_of(run: Run, names: Sequence[str]) -> list[Curve]:
    curves = []
    for name in names:
        for part in ("training", "validation"):
            key = f"{part}_{name}"
            points = [
                (metrics["epoch"] + 1.0, float(metrics[key])) for metrics in run.epochs if _is_number(metrics.get(key))
            ]
            if points:
                curves.append(Curve(key.replace("_", " "), points))
    return curves


def _batch_charts(run: Run) -> list[str]:
    charts = []
    for tag, heading, label in _BATCH_CURVES:
        curves = [Curve(tag, run.training[tag])] if tag in run.training else []
        if tag == "train/batch_loss" and "train/batch_loss_mov_avg" in run.training:
            curves[0] = Curve("batch", run.training[tag])
            curves.append(Curve("mean of the last hundred", run.training["train/batch_loss_mov_avg"]))
        charts.append(_card(heading, curves, "batch", label))
    return charts


def _card(heading: str, curves: Sequence[Curve], x_label: str, y_label: str) -> str:
    chart = line_chart(curves, x_label, y_label)
    return f'<div class="card"><h3>{escape(heading)}</h3>{chart}</div>' if chart else ""


def _mix_card(mix: Mix) -> str:
    bars = [(f"layer {layer}" if layer else "characters", share) for layer, share in enumerate(mix.shares)]
    gamma = "" if mix.gamma is None else f'<p class="soft">gamma {format_number(mix.gamma)}</p>'
    return f'<div class="card"><h3>{escape(mix.name)}</h3>{bar_chart(bars)}{gamma}</div>'


def _neighbor_table(query: dict[str, Any]) -> str:
    sentence, position = query["sentence"], query["position"]

    def table(label: str, neighbors: list[tuple[float, str]]) -> str:
        rows = [f'<tr><td class="number">{near:.3f}</td><td>{text}</td></tr>' for near, text in neighbors]
        return f'<div><p class="soft">{label}</p><table>{"".join(rows)}</table></div>'

    alone = [(near["similarity"], escape(near["word"])) for near in query["context_free"]]
    in_context = [(near["similarity"], _marked(near["sentence"], near["position"])) for near in query["contextual"]]
    return (
        f'<div class="card"><h3>{_marked(sentence, position)}</h3><div class="charts">'
        f"{table('the word alone', alone)}{table('the word in its sentence', in_context)}</div></div>"
    )


def _marked(sentence: Sequence[str], position: int) -> str:
    words = [escape(word) for word in sentence]
    words[position] = f"<mark>{words[position]}</mark>"
    return " ".join(words)


def _preformatted(lines: Sequence[str]) -> str:
    return f"<pre>{escape(chr(10).join(lines))}</pre>"


def _config(config: dict[str, Any]) -> str:
    text = json.dumps(config, indent=2, ensure_ascii=False)
    return f"<details open><summary>config.json</summary><pre>{escape(text)}</pre></details>"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
