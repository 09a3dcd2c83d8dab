"""The tables of this example: accuracy by phenomenon, and a short one for docs/results.md."""

from pathlib import Path

from examples.grammar.__main__ import ALL, BILM, KNOWN, N_GRAM
from examples.shared.figures import Figures
from examples.shared.tables import Table, markdown_table

FOLDER = Path(__file__).parent

_SCORES = ("forward", "backward", "both")
# The pages say how many biLMs were measured.
_ONE_RUN = " (one run)"


def tables(figures: Figures) -> list[Table]:
    """Return the tables of the pages, from the file of figures."""
    root = FOLDER.parents[1]
    return [
        Table(FOLDER / "README.md", "grammar phenomena", _by_phenomenon(figures)),
        Table(FOLDER / "README.md", "grammar time", _time(figures)),
        Table(root / "docs" / "results.md", "grammar", _summary(figures)),
    ]


def _by_phenomenon(figures: Figures) -> str:
    phenomena = dict.fromkeys(line["phenomenon"] for line in figures.lines({"words": KNOWN}))
    rows = [
        [phenomenon, *_pairs(figures, phenomenon, KNOWN), *_accuracies(figures, phenomenon, KNOWN)]
        for phenomenon in phenomena
        if phenomenon != ALL
    ]
    rows += [
        [name, *_pairs(figures, ALL, words), *_accuracies(figures, ALL, words)]
        for name, words in (("all of these", KNOWN), ("with pairs that have other words", ALL))
    ]
    return markdown_table(["Phenomenon", "Pairs", N_GRAM, *(f"biLM, {score}" for score in _SCORES)], rows)


def _summary(figures: Figures) -> str:
    return markdown_table(
        ["Right judgements (%)", N_GRAM, *(f"biLM, {score}" for score in _SCORES)],
        [["23 phenomena of Zorro", *_accuracies(figures, ALL, KNOWN)]],
    )


def _time(figures: Figures) -> str:
    rows = [
        [name, figures.mean({"scorer": scorer, "figure": "time"}, "processor_minutes").removesuffix(_ONE_RUN)]
        for name, scorer in (
            ("a biLM scores all pairs", BILM),
            (f"the {N_GRAM} model is counted and scores them", N_GRAM),
        )
    ]
    return markdown_table(["Work", "Processor minutes"], rows)


def _pairs(figures: Figures, phenomenon: str, words: str) -> list[str]:
    lines = figures.lines({"scorer": N_GRAM, "phenomenon": phenomenon, "words": words})
    return [f"{lines[0]['pairs']:,}" if lines else ""]


def _accuracies(figures: Figures, phenomenon: str, words: str) -> list[str]:
    """Return the accuracy of the n-gram model, which has no seed, and of each score of the biLMs."""
    key = {"phenomenon": phenomenon, "words": words}
    n_gram = [f"{100 * line['forward']:.1f}" for line in figures.lines({"scorer": N_GRAM, **key})]
    bilm = [figures.mean({"scorer": BILM, **key}, score, 1, 100).removesuffix(_ONE_RUN) for score in _SCORES]
    return [*(n_gram or [""]), *bilm]
