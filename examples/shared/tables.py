"""Markdown tables of figures, written into the pages that show them."""

from collections.abc import Sequence
from pathlib import Path


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
