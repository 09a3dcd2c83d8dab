"""Draw docs/chunking.svg from the figures:  python -m examples.chunking.plot"""

import statistics
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from examples.chunking.tables import DOCS, FOLDER, NAMES, SHARES
from examples.shared.figures import Figures

PICTURE = DOCS / "chunking.svg"
STYLES = {"bilm": ("#1f6fb4", "o-"), "flair": ("#d1662b", "s-"), "none": ("#222222", "D-")}
OTHERS = ("#888888", ("^--", "v--", "x:"))


def draw(figures: Figures, path: Path) -> None:
    """Write the F1 of each kind of vectors over the number of labelled sentences into the file `path`."""
    # The same figures give the same file.
    matplotlib.rcParams["svg.hashsalt"] = "chunking"
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    other_markers = iter(OTHERS[1])
    for kind, name in NAMES.items():
        points = []
        for share in SHARES:
            lines = figures.lines({"task": "chunks", "vectors": kind, "share": share})
            if lines:
                values = [line["F1"] for line in lines]
                spread = statistics.stdev(values) if len(values) > 1 else 0.0
                points.append((lines[0]["sentences"], statistics.mean(values), spread))
        color, marker = STYLES.get(kind) or (OTHERS[0], next(other_markers))
        if points:
            numbers, means, spreads = zip(*points)
            label = "no pretrained vectors" if kind == "none" else name
            axes.errorbar(numbers, means, spreads, color=color, fmt=marker, capsize=3, label=label)
    axes.set(xscale="log", xlabel="labelled sentences", ylabel="F1 of chunks (%)")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    draw(Figures(FOLDER / "figures.jsonl"), PICTURE)
