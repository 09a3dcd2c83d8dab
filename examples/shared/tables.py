"""Markdown tables of figures, written into the pages that show them.

An example with figures has the files `examples/NAME/figures.jsonl` and `examples/NAME/tables.py`. The latter has a function
`tables(figures)`, which returns the tables of all its pages. `python -m examples.shared.tables NAME...` writes the tables of these figures
into the pages, and `tests/examples/test_figures.py` checks that each page has them. `python -m examples.shared.tables NAME --figures FILE`
prints the tables of other figures, and changes no page.
"""

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Optional

from examples.shared.figures import Figures


class Table(NamedTuple):
    """A table and its place: between two lines with its `name` in the file `page`, see `replace_table`."""

    page: Path
    name: str
    text: str


def tables_of(example: str, file: Optional[Path] = None) -> list[Table]:
    """Return the tables of the figures in `file`; by default, of those of the example's own file."""
    module = import_module(f"examples.{example}.tables")
    tables: list[Table] = module.tables(Figures(file or Path(f"{module.__file__}").with_name("figures.jsonl")))
    return tables


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


def main() -> None:
    """Read the command line, and write or print the tables."""
    parser = argparse.ArgumentParser(prog="python -m examples.shared.tables")
    parser.add_argument("examples", nargs="+", metavar="NAME")
    parser.add_argument("--figures", type=Path, metavar="FILE", help="print the tables of these figures of one example")
    arguments = parser.parse_args()
    if arguments.figures is not None and (len(arguments.examples) > 1 or not arguments.figures.exists()):
        parser.error(f"--figures must be a file of one example, got {arguments.figures}")
    for table in (table for name in arguments.examples for table in tables_of(name, arguments.figures)):
        if arguments.figures is None:
            replace_table(*table)
        else:
            print(f"{table.name}\n\n{table.text}\n")


if __name__ == "__main__":
    main()
