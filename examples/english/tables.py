"""The table of the page about the English biLM, from its figures."""

from pathlib import Path

from examples.shared.figures import Figures
from examples.shared.tables import Table, markdown_table

FOLDER = Path(__file__).parent


def tables(figures: Figures) -> list[Table]:
    """Return the table of the example's page."""
    rows = [
        [
            str(line["seed"]),
            *(f"{line[name]:.1f}" for name in ("perplexity", "forward_perplexity", "backward_perplexity", "minutes")),
        ]
        for line in figures.lines({})
    ]
    header = ["Seed", "Held-out perplexity", "forward", "backward", "Processor minutes"]
    return [Table(FOLDER / "README.md", "english", markdown_table(header, rows))]
