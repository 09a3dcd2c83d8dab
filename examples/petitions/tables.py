"""The tables of the pages about petitions, from their figures."""

from pathlib import Path
from typing import Any

from examples.petitions.text import WORDS
from examples.shared.figures import Figures
from examples.shared.tables import Table, markdown_table

FOLDER = Path(__file__).parent
DOCS = FOLDER.parents[1] / "docs"
POOLINGS = {"mean": "means", "idf_mean": "means weighted by IDF", "maximum": "maxima"}
POOLED = {**POOLINGS, "matches": "similar words"}
MIXES = {
    "layer_0": "layer 0",
    "layer_1": "layer 1",
    "layer_2": "layer 2",
    "average": "average of the layers",
    "weights": "learned weights, no gamma",
    "gamma": "learned weights and gamma",
}

# A row: its title, and the fields of its runs.
Row = tuple[str, dict[str, Any]]

WITHOUT_BILM: list[Row] = [
    ("TF-IDF, logistic regression", {"part": "baselines", "name": "TF-IDF", "regression": "logistic"}),
    ("TF-IDF, ridge regression", {"part": "baselines", "name": "TF-IDF", "regression": "ridge"}),
    ("fastText's classifier", {"part": "fasttext"}),
]
WITH_BOTH: list[Row] = [
    (
        f"TF-IDF and {title}, ridge regression",
        {"part": "baselines", "name": f"TF-IDF and {name}", "regression": "ridge"},
    )
    for name, title in POOLED.items()
]
VECTORS: list[Row] = [
    (f"{title}, ridge regression", {"part": "baselines", "name": name, "regression": "ridge"})
    for name, title in POOLED.items()
]
BEST_MIXES: list[Row] = [
    (f"{title}, learned weights and gamma", {"part": "layers", "name": f"gamma, {name}"})
    for name, title in (("mean", "means"), ("idf_mean", "means weighted by IDF"))
]
SEQUENCES: list[Row] = [
    ("attention, 100 words", {"part": "attention", "name": "gamma"}),
    ("convolution, 100 words", {"part": "convolution", "name": "gamma"}),
    ("RNN and its maxima, 100 words", {"part": "rnn", "name": "gamma, input"}),
    ("RNN, vectors at its input and output, 100 words", {"part": "rnn", "name": "gamma, input and output"}),
    ("last state of an RNN, 100 words", {"part": "rnn", "name": "gamma, last state"}),
    ("attention, a petition as one sentence of 100 words", {"part": "finetuned", "name": "frozen"}),
    ("the same, the biLM trained too", {"part": "finetuned", "name": "trained"}),
]
GAMMA = {
    **{title: ("layers", "{}, " + name) for name, title in POOLINGS.items()},
    "attention, 100 words": ("attention", "{}"),
    "convolution, 100 words": ("convolution", "{}"),
    "RNN and its maxima, 100 words": ("rnn", "{}, input"),
}


def tables(figures: Figures) -> list[Table]:
    """Return the tables of the example's page, and those of the pages in `docs/`."""
    page = FOLDER / "README.md"
    short = [*WITHOUT_BILM, *VECTORS[-1:], *WITH_BOTH[-1:], *BEST_MIXES]
    return [
        Table(page, "classifiers", _table(figures, [*WITHOUT_BILM, *WITH_BOTH, *VECTORS, *BEST_MIXES, *SEQUENCES])),
        Table(page, "layers", _layers(figures)),
        Table(page, "gamma", _gamma(figures)),
        Table(page, "pretraining", _pretraining(figures)),
        Table(DOCS / "results.md", "petitions", _table(figures, short)),
        Table(DOCS / "choose.md", "petitions", _layers(figures)),
    ]


def _table(figures: Figures, rows: list[Row]) -> str:
    measured = [
        ("Months", "month_accuracy", 1),
        ("Dev", "dev_accuracy", 1),
        ("Test", "accuracy", 1),
        ("F1", "F1", 1),
        ("Minutes", "minutes", 2),
    ]
    lines = []
    for words in WORDS:
        for title, fields in rows:
            key = {"words": words, **fields}
            if figures.lines(key):
                lines.append([words, title, *(figures.mean(key, name, digits) for _, name, digits in measured)])
    return markdown_table(["Words by", "Classifier", *(title for title, _, _ in measured)], lines)


def _layers(figures: Figures) -> str:
    lines = [
        [
            title,
            *(
                figures.mean({"words": "morphemes", "part": "layers", "name": f"{mix}, {pooling}"}, "accuracy")
                for pooling in POOLINGS
            ),
        ]
        for mix, title in MIXES.items()
    ]
    return markdown_table(["Layers", *(title[0].upper() + title[1:] for title in POOLINGS.values())], lines)


def _gamma(figures: Figures) -> str:
    lines = []
    for title, (part, name) in GAMMA.items():
        keys = [{"words": "morphemes", "part": part, "name": name.format(mix)} for mix in ("gamma", "weights")]
        if all(figures.lines(key) for key in keys):
            lines.append([title, *(figures.mean(key, figure) for figure in ("accuracy", "F1") for key in keys)])
    return markdown_table(["Classifier", "Test, with gamma", "without", "F1, with gamma", "without"], lines)


def _pretraining(figures: Figures) -> str:
    lines = []
    for line in figures.lines({"part": "bilm"}):
        perplexities = [f"{line[f'{direction}perplexity']:.1f}" for direction in ("", "forward_", "backward_")]
        embedding = figures.mean({"words": line["words"], "part": "vectors"}, "minutes").removesuffix(" (one run)")
        lines.append([line["words"], *perplexities, f"{line['minutes']:.1f}", embedding])
    header = ["Words by", "Perplexity", "forward", "backward", "Minutes to pretrain", "Minutes to embed all petitions"]
    return markdown_table(header, lines)
