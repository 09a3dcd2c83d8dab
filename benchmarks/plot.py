"""
Plot the JSON files of the benchmarks, one PNG per benchmark: python -m benchmarks.plot DIR

Each case and quantity has a panel: bars of time per unit of work (or per run) with quartiles, bars of memory, and for sizes that double
a line of time with a second line of the counted work.
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

NO_MATPLOTLIB = "the plot is left out: matplotlib is not installed"
_COLUMNS = 3


def write_plot(report: dict[str, Any], path: Path) -> bool:
    """Draw `report`, as read from JSON and with at least one case, to the PNG `path`; return False without matplotlib."""
    try:
        # Drawn without a display, independently of the user's settings.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False

    panels = [(draw, case) for case in report["cases"] for draw in _panels(case)]
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5.5 * columns, 0.8 + 2.4 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    machine = report["machine"]
    title = f"{report['title']}\n{machine['cpu']}, PyTorch's threads: {machine['threads']}, torch {machine['torch']}"
    figure.suptitle(title + (" — quick sizes, figures mean nothing" if report["quick"] else ""), fontsize=11)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, (draw, case) in zip(axes, panels):
        axis.set_title(case["label"], fontsize=9)
        axis.tick_params(labelsize=8)
        draw(axis, case["contenders"], report["units"]["work"])
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    figure.savefig(path, dpi=120)
    return True


def _panels(case: dict[str, Any]) -> list[Any]:
    lines = case["contenders"]
    if any(line["growth"] is not None for line in lines):
        return [_draw_growth]
    panels: list[Any] = []
    if any(line["seconds"] for line in lines):
        panels.append(_draw_times)
    if any(line["bytes"] is not None for line in lines):
        panels.append(_draw_memory)
    return panels


def _draw_times(axis: Any, lines: list[dict[str, Any]], work_unit: str) -> None:
    timed = [line for line in lines if line["seconds"]][::-1]
    samples = [[1e6 * seconds / (line["amount"] or 1) for seconds in line["seconds"]] for line in timed]
    middles = [statistics.median(sample) for sample in samples]
    quartiles = [_quartiles(sample) for sample in samples]
    below = [middle - lower for middle, (lower, _) in zip(middles, quartiles)]
    above = [upper - middle for middle, (_, upper) in zip(middles, quartiles)]
    axis.barh([line["contender"] for line in timed], middles, xerr=[below, above], color=_colors(timed))
    axis.set_xlabel(f"µs per {work_unit}" if timed[0]["amount"] else "µs", fontsize=8)


def _draw_memory(axis: Any, lines: list[dict[str, Any]], _: str) -> None:
    known = [line for line in lines if line["bytes"] is not None][::-1]
    axis.barh([line["contender"] for line in known], [line["bytes"] / 2**20 for line in known], color=_colors(known))
    axis.set_xlabel("MiB", fontsize=8)


def _draw_growth(axis: Any, lines: list[dict[str, Any]], _: str) -> None:
    medians = [1e3 * line["median_seconds"] for line in lines]
    by_work = medians[:1]
    for line in lines[1:]:
        by_work.append(by_work[-1] * line["growth_of_work"])
    names = [line["contender"] for line in lines]
    axis.plot(names, medians, marker="o", label="measured")
    axis.plot(names, by_work, linestyle="--", color="grey", label="as its work")
    axis.set_yscale("log", base=2)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_ylabel("ms", fontsize=8)
    axis.tick_params(axis="x", labelrotation=20)
    axis.legend(fontsize=8)


def _colors(lines: list[dict[str, Any]]) -> list[str]:
    """Return a colour for each line: blue for ours, grey for limits."""

    def color(name: str) -> str:
        return "tab:blue" if name.startswith("ours") else "lightgrey" if name.startswith("limit") else "tab:orange"

    return [color(line["contender"]) for line in lines]


def _quartiles(sample: list[float]) -> tuple[float, float]:
    if len(sample) < 2:
        return sample[0], sample[0]
    lower, _, upper = statistics.quantiles(sample, n=4, method="inclusive")
    return lower, upper


def main(arguments: list[str]) -> None:
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        sys.exit("usage: python -m benchmarks.plot DIR, the directory that holds the JSON files")
    paths = sorted(Path(arguments[0]).glob("*.json"))
    if not paths:
        sys.exit(f"{arguments[0]}: no JSON file there")
    for path in paths:
        report, image = json.loads(path.read_text("utf-8")), path.with_suffix(".png")
        if not report["cases"]:
            print(f"{path}: nothing was measured")
            continue
        if not write_plot(report, image):
            sys.exit(NO_MATPLOTLIB)
        print(f"wrote {image}")


if __name__ == "__main__":
    main(sys.argv[1:])
