"""Write the HTML of the page."""

import json
import os
from collections.abc import Sequence
from html import escape
from typing import Any, Optional

from allennlp_elmo_plus.report import chart
from allennlp_elmo_plus.report.chart import bar_chart, format_number
from allennlp_elmo_plus.report.curves import batch_charts, epoch_charts
from allennlp_elmo_plus.report.facts import differing_settings, facts, results, state
from allennlp_elmo_plus.report.html import document, marked, section, table
from allennlp_elmo_plus.report.run import Mix, Run


def report_page(runs: Sequence[Run], neighbors: Optional[list[dict[str, Any]]] = None) -> str:
    """Return the HTML of a run, or of several runs, compared.

    All text of the runs is escaped, and the page's Content-Security-Policy forbids scripts and everything from other places.

    Args:
        runs: the content of the runs' serialization directories.
        neighbors: the queries with their neighbours, as `elmo-plus neighbors --output` writes them.
    """
    by_name = _by_name(runs)
    names = list(by_name)
    if len(runs) == 1:
        (title,) = names
        top = [f'<h1>{escape(title)}</h1><p class="soft">{escape(state(runs[0]).capitalize())}.</p>', _tiles(runs[0])]
    else:
        title = f"{len(runs)} runs"
        top = [f"<h1>{title}</h1>", section("Results", "card", [_comparison(names, [results(run) for run in runs])])]
    configs = [run.config or {} for run in runs]
    parts = [
        *top,
        section("Epochs", "charts", epoch_charts(by_name)),
        section("Batches", "charts", batch_charts(by_name)),
        section("How the layers are mixed", "charts", _by_run(names, [list(map(_mix, run.mixes)) for run in runs])),
        section("Nearest neighbours", "stack", [_neighbor_table(query) for query in neighbors or []]),
        section("Facts", "card", [_comparison(names, [facts(run) for run in runs])]),
        section("Settings that differ", "card", [table(names, differing_settings(configs).items())]),
        section("Warnings and errors", "stack", _by_run(names, [_messages(run.messages) for run in runs])),
        section("Config", "stack", _by_run(names, [_config(run.config, is_open=len(runs) == 1) for run in runs])),
    ]
    return document(title, chart.STYLE, parts)


def _by_name(runs: Sequence[Run]) -> dict[str, Run]:
    """Return each of `runs` by its path below the directory that all have in common."""
    paths = [run.directory.resolve() for run in runs]
    common = os.path.commonpath([path.parent for path in paths])
    return {os.path.relpath(path, common): run for path, run in zip(paths, runs, strict=True)}


def _tiles(run: Run) -> str:
    cards = [
        f'<p class="card"><b>{escape(value)}</b><span class="soft">{escape(label)}</span></p>'
        for label, value in results(run).items()
    ]
    return f'<div class="tiles">{"".join(cards)}</div>' if cards else ""


def _comparison(names: Sequence[str], columns: Sequence[dict[str, str]]) -> str:
    """Return a table with a row per label and a column per run."""
    labels = dict.fromkeys(label for column in columns for label in column)
    return table(
        names if len(names) > 1 else (), [(label, [column.get(label, "") for column in columns]) for label in labels]
    )


def _by_run(names: Sequence[str], parts: Sequence[Sequence[str]]) -> list[str]:
    """Return the `parts` of all runs as cards. With several runs, the name of the run precedes each."""
    return [
        f'<div class="card">{f"<h3>{escape(name)}</h3>" if len(names) > 1 else ""}{part}</div>'
        for name, parts_of_run in zip(names, parts, strict=True)
        for part in parts_of_run
    ]


def _mix(mix: Mix) -> str:
    bars = [(f"layer {layer}" if layer else "characters", share) for layer, share in enumerate(mix.shares)]
    gamma = "" if mix.gamma is None else f'<p class="soft">gamma {format_number(mix.gamma)}</p>'
    return f"<h3>{escape(mix.name)}</h3>{bar_chart(bars)}{gamma}"


def _neighbor_table(query: dict[str, Any]) -> str:
    sentence, position = query["sentence"], query["position"]

    def neighbors(label: str, rows: list[tuple[float, str]]) -> str:
        cells = [f'<tr><td class="number">{near:.3f}</td><td>{text}</td></tr>' for near, text in rows]
        return f'<div><p class="soft">{label}</p><table>{"".join(cells)}</table></div>'

    alone = [(near["similarity"], escape(near["word"])) for near in query["context_free"]]
    in_context = [(near["similarity"], marked(near["sentence"], near["position"])) for near in query["contextual"]]
    return (
        f'<div class="card"><h3>{marked(sentence, position)}</h3><div class="charts">'
        f"{neighbors('the word alone', alone)}{neighbors('the word in its sentence', in_context)}</div></div>"
    )


def _messages(lines: Sequence[str]) -> list[str]:
    return [f"<pre>{escape(chr(10).join(lines))}</pre>"] if lines else []


def _config(config: Optional[dict[str, Any]], is_open: bool) -> list[str]:
    if config is None:
        return []
    text = json.dumps(config, indent=2, ensure_ascii=False)
    return [f"<details{' open' if is_open else ''}><summary>config.json</summary><pre>{escape(text)}</pre></details>"]
