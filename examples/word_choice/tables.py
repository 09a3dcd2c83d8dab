"""The tables of the pages about word_choice, from its figures."""

from pathlib import Path

from examples.shared.figures import Figures
from examples.shared.tables import Table, markdown_table
from examples.word_choice.rankings import CHOSEN

FOLDER = Path(__file__).parent
COLUMNS = {
    "Trial": "trial",
    "Test": "test",
    "nouns": "test_n",
    "verbs": "test_v",
    "adjectives": "test_a",
    "adverbs": "test_r",
}

# The rows of the table: the vectors, the way, what the page calls it.
WAYS = [
    ("none", "random", "random order"),
    ("none", "frequency", "frequency in the text"),
    ("word2vec", "target", "cosine with the target"),
    ("word2vec", "add", "add: target and contexts"),
    ("word2vec", "balanced add", "balanced add"),
    ("word2vec", "mult", "mult"),
    ("word2vec", "balanced mult", "balanced mult"),
    ("biLM", "forward", "P, given the words before"),
    ("biLM", "backward", "P, given the words after"),
    ("biLM", "geometric mean", "geometric mean of the two, or their product"),
    ("biLM", "arithmetic mean", "arithmetic mean of the two"),
    ("biLM", "Bayes", "product of the two / P of the word"),
    ("biLM", "weighted Bayes", "product of the two / P of the word ^ α"),
    ("biLM", "sentence", "P of the whole sentence"),
    ("biLM", "layer 0", "cosine with the target, layer 0 (no context)"),
    ("biLM", "layer 1", "cosine, layer 1"),
    ("biLM", "layer 2", "cosine, layer 2"),
    ("biLM", "mean of layers", "mean of the cosines of the three layers"),
    ("biLM", "mix of layers", "weighted mean of the three"),
    ("biLM", "add", "add: target and two contexts"),
    ("biLM", "balanced add", "balanced add"),
    ("biLM", "mult", "mult"),
    ("biLM", "balanced mult", "balanced mult"),
    ("biLM", "weighted Bayes and similarity", "log(product / P ^ α) + β cosine"),
]
# The rows of the page of all results.
_SUMMARY = {
    ("none", "random"),
    ("word2vec", "target"),
    ("word2vec", "balanced add"),
    ("biLM", "layer 0"),
    ("biLM", "mix of layers"),
    ("biLM", "geometric mean"),
    ("biLM", "weighted Bayes"),
    ("biLM", "weighted Bayes and similarity"),
}


def tables(figures: Figures) -> list[Table]:
    """Return the tables of the example's page, and the short one of the page of all results."""
    page = FOLDER / "README.md"
    short = [row for row in WAYS if row[:2] in _SUMMARY]
    results = FOLDER.parents[1] / "docs/results.md"
    return [
        Table(page, "ways", _table(figures, WAYS, list(COLUMNS))),
        Table(page, "chosen", _chosen(figures)),
        Table(results, "word_choice", _table(figures, short, ["Test"])),
    ]


def _table(figures: Figures, ways: list[tuple[str, str, str]], columns: list[str]) -> str:
    rows = []
    for vectors, way, name in ways:
        key = {"vectors": vectors, "way": way}
        if figures.lines(key):
            title = name if vectors == "none" else f"{vectors}: {name}"
            rows.append([title, *(figures.mean(key, COLUMNS[column]) for column in columns)])
    return markdown_table(["Ranked by", *columns], rows)


def _chosen(figures: Figures) -> str:
    rows = []
    for way in CHOSEN:
        for line in figures.lines({"vectors": "biLM", "way": way}):
            numbers = ", ".join(f"{number:g}" for number in line["numbers"])
            rows.append([way, line["model"], numbers])
    return markdown_table(["Way", "biLM", "Numbers"], rows)
