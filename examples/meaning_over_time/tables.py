"""The tables of the page about meaning_over_time, from its figures."""

import statistics
from pathlib import Path

from examples.shared.figures import Figures
from examples.shared.tables import Table, markdown_table

FOLDER = Path(__file__).parent
_MEASURES = ("apd", "prt", "jsd")


def tables(figures: Figures) -> list[Table]:
    """Return the table of the example's page."""
    words = [word for word in dict.fromkeys(line["word"] for line in figures.lines({})) if _is_complete(figures, word)]
    words.sort(key=lambda word: -_ratio(figures, word))
    rows = []
    for word in words:
        (line, *_) = figures.lines({"word": word, "corpora": "years"})
        means = [
            figures.mean({"word": word, "corpora": corpora}, measure, digits=3)
            for measure in _MEASURES
            for corpora in ("years", "halves")
        ]
        counts = [str(line["found_a"]), str(line["found_b"])]
        rows.append([word, *counts, *means, f"{_ratio(figures, word):.1f}"])
    header = [
        "Word",
        "2017",
        "2019",
        "APD, years",
        "APD, halves",
        "PRT, years",
        "PRT, halves",
        "JSD, years",
        "JSD, halves",
    ]
    return [Table(FOLDER / "README.md", "words", markdown_table([*header, "PRT, years / halves"], rows))]


def _is_complete(figures: Figures, word: str) -> bool:
    """Return whether `word` was compared in both kinds of corpora, and occurs in each corpus."""
    lines = [figures.lines({"word": word, "corpora": corpora}) for corpora in ("years", "halves")]
    return all(lines) and all(line[measure] is not None for line in sum(lines, []) for measure in _MEASURES)


def _ratio(figures: Figures, word: str) -> float:
    """Return the mean PRT between the years, divided by that between the halves."""
    years, halves = (
        statistics.mean(line["prt"] for line in figures.lines({"word": word, "corpora": corpora}))
        for corpora in ("years", "halves")
    )
    return years / halves
