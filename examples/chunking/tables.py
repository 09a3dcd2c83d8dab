"""The tables of the pages about chunking, from its figures."""

import statistics
from pathlib import Path

from examples.shared.figures import Figures
from examples.shared.tables import Table, markdown_table

FOLDER = Path(__file__).parent
DOCS = FOLDER.parents[1] / "docs"
NAMES = {
    "bilm": "biLM",
    "flair": "flair",
    "fasttext": "fastText",
    "word2vec": "word2vec",
    "untrained": "untrained biLM",
    "none": "none",
}
SHARES = {0.01: "1%", 0.1: "10%", 1.0: "all"}


def tables(figures: Figures) -> list[Table]:
    """Return the tables of the example's page, and of two pages in docs/."""
    kinds = [kind for kind in NAMES if figures.lines({"task": "chunks", "vectors": kind})]
    return [
        Table(FOLDER / "README.md", "chunks", _chunks(figures, kinds)),
        Table(FOLDER / "README.md", "cost", _cost(figures, kinds)),
        Table(DOCS / "results.md", "chunking", _chunks(figures, kinds)),
        Table(DOCS / "choose.md", "chunking", _gain(figures)),
    ]


def _chunks(figures: Figures, kinds: list[str]) -> str:
    titles = []
    for share, title in SHARES.items():
        lines = figures.lines({"task": "chunks", "share": share})
        titles.append(f"{lines[0]['sentences']:,} sentences ({title})" if lines else title)
    rows = [
        [
            NAMES[kind],
            *(figures.mean({"task": "chunks", "vectors": kind, "share": share}, "F1") for share in SHARES),
        ]
        for kind in kinds
    ]
    return markdown_table(["Vectors", *titles], rows)


def _cost(figures: Figures, kinds: list[str]) -> str:
    rows = []
    for kind in kinds:
        vectors = [
            figures.mean({"task": "vectors", "vectors": kind}, name) for name in ("minutes", "embedding_minutes")
        ]
        tagger = [
            figures.mean({"task": "chunks", "vectors": kind, "share": share}, "minutes", digits=2) for share in SHARES
        ]
        rows.append([NAMES[kind], *vectors, *tagger])
    header = ["Vectors", "Training the vectors", "Computing them", *(f"Tagger, {title}" for title in SHARES.values())]
    return markdown_table(header, rows)


def _gain(figures: Figures) -> str:
    rows = []
    for share in SHARES:
        key = {"task": "chunks", "share": share}
        lines = {kind: figures.lines({**key, "vectors": kind}) for kind in ("none", "bilm")}
        if all(lines.values()):
            none, bilm = (statistics.mean(line["F1"] for line in lines[kind]) for kind in ("none", "bilm"))
            means = [figures.mean({**key, "vectors": kind}, "F1") for kind in ("none", "word2vec", "bilm")]
            rows.append([f"{lines['bilm'][0]['sentences']:,}", *means, f"{100 * (bilm - none) / (100 - none):.0f}%"])
    header = ["Labelled sentences", "No pretrained vectors", "word2vec", "biLM", "Errors that the biLM removes"]
    return markdown_table(header, rows)
