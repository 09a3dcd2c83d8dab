"""Markdown tables of figures, written into the pages that show them.

An example with figures has the files `examples/NAME/figures.jsonl` and `examples/NAME/tables.py`. The latter has a function
`tables()`, which returns the tables of all its pages. `python -m examples.shared.tables NAME` writes them into the pages, and
`tests/examples/test_figures.py` checks that each page has them.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple


class Table(NamedTuple):
    """A table and its place: between two lines with its `name` in the file `page`, see `replace_table`."""

    page: Path
    name: str
    text: str


def write_tables(example: str) -> None:
    """Write the tables of `examples/EXAMPLE/tables.py` into their pages."""
    for table in import_module(f"examples.{example}.tables").tables():
        replace_table(*table)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is aligned to the left, the others to the right."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))


def replace_table(page: Path, name: str, table: str) -> None:
    """Replace what stands in the file `page` between the lines `<!-- table NAME -->` and `<!-- end of NAME -->` with `table`.

    Raises:
        ValueError: where the page lacks one of the two lines.
    """
    first, last = f"<!-- table {name} -->\n", f"<!-- end of {name} -->\n"
    text = page.read_text("utf-8")
    before, found_first, rest = text.partition(first)
    _, found_last, after = rest.partition(last)
    if not found_first or not found_last:
        raise ValueError(f"{page} must have the lines {first.strip()!r} and {last.strip()!r}")
    page.write_text(f"{before}{first}\n{table}\n\n{last}{after}", encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        write_tables(name)
