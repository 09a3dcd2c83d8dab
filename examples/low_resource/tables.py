"""The tables of the pages about low_resource, from its figures."""

from pathlib import Path

from examples.shared.figures import Figures
from examples.shared.tables import Table, markdown_table

FOLDER = Path(__file__).parent
NAMES = {
    "bilm": "biLM",
    "bilm+fasttext": "biLM and fastText",
    "untrained": "untrained biLM",
    "fasttext": "fastText",
    "word2vec": "word2vec",
    "flair": "flair",
}
# The columns with figures: title, task, figure.
COLUMNS = [
    ("Tags", "pos", "accuracy"),
    ("Names F1", "names", "F1"),
    ("UAS", "parser_small", "UAS"),
    ("LAS", "parser_small", "LAS"),
    ("LAS, published parser", "parser_published", "LAS"),
]

# Gessler and Zeldes (2022), frozen: LAS and the F1 of names.
PUBLISHED = {
    "wolof": {
        "word2vec": ("72.35", "86.89"),
        "MicroBERT-M": ("75.69", ""),
        "MicroBERT-MX": ("77.83", ""),
        "multilingual BERT": ("76.40", ""),
    },
    "maltese": {
        "word2vec": ("73.41", "82.67"),
        "MicroBERT-M": ("74.33", ""),
        "MicroBERT-MX": ("78.90", ""),
        "multilingual BERT": ("78.18", ""),
    },
    "tamil": {
        "word2vec": ("50.91", "82.71"),
        "MicroBERT-M": ("59.75", ""),
        "MicroBERT-MX": ("61.00", ""),
        "multilingual BERT": ("66.73", ""),
    },
}


def tables(figures: Figures) -> list[Table]:
    """Return the tables of the example's page, and the short one of the page of all results."""
    languages = list(dict.fromkeys(line["language"] for line in figures.lines({})))
    page = FOLDER / "README.md"
    return [
        Table(page, "tasks", _tasks(figures, languages)),
        Table(page, "pretraining", _pretraining(figures, languages)),
        Table(page, "cost", _cost(figures, languages)),
        Table(FOLDER.parents[1] / "docs/results.md", "low_resource", _summary(figures, languages)),
    ]


def _tasks(figures: Figures, languages: list[str]) -> str:
    rows = []
    for language in languages:
        for vectors, name in NAMES.items():
            if figures.lines({"language": language, "vectors": vectors}):
                key = {"language": language, "vectors": vectors}
                means = [figures.mean({**key, "task": task}, figure) for _, task, figure in COLUMNS]
                rows.append([language.capitalize(), name, *means])
        for name, (las, f1) in PUBLISHED.get(language, {}).items():
            rows.append([language.capitalize(), f"*{name}, published*", "", f1, "", "", las])
    return markdown_table(["Language", "Frozen vectors", *(title for title, _, _ in COLUMNS)], rows)


def _pretraining(figures: Figures, languages: list[str]) -> str:
    rows = []
    for language in languages:
        key = {"language": language, "vectors": "bilm", "task": "pretraining"}
        for line in figures.lines(key):
            perplexities = [f"{line[f'{direction}perplexity']:.1f}" for direction in ("", "forward_", "backward_")]
            rows.append([language.capitalize(), f"{line['words']:,}", str(line["epochs"]), *perplexities])
    return markdown_table(["Language", "Words", "Epochs", "Held-out perplexity", "forward", "backward"], rows)


def _cost(figures: Figures, languages: list[str]) -> str:
    tasks = {"pretraining": "Training the vectors", "pos": "Tags", "names": "Names", "parser_small": "Parser"}
    tasks["parser_published"] = "Published parser"
    rows = []
    for language in languages:
        for vectors, name in NAMES.items():
            key = {"language": language, "vectors": vectors}
            if figures.lines(key):
                minutes = [figures.mean({**key, "task": task}, "minutes") for task in tasks]
                rows.append([language.capitalize(), name, *minutes])
    return markdown_table(["Language", "Vectors", *tasks.values()], rows)


def _summary(figures: Figures, languages: list[str]) -> str:
    kinds = [vectors for vectors in NAMES if figures.lines({"vectors": vectors})]
    rows = []
    for language in languages:
        for _, task, figure in COLUMNS:
            means = [
                figures.mean({"language": language, "vectors": vectors, "task": task}, figure) for vectors in kinds
            ]
            if means[0]:
                title = {"pos": "right tags", "names": "F1 of names"}.get(task, f"{figure}, {task.replace('_', ', ')}")
                rows.append([language.capitalize(), title, *means])
    return markdown_table(["Language", "Task", *(NAMES[vectors] for vectors in kinds)], rows)
