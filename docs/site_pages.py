"""Pages of the site that are not in docs/: the notebooks, the benchmarks and the changelog. MkDocs calls these functions (mkdocs.yml)."""

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "examples" / "notebooks"
# `make docs` writes them with docs/screenshots.sh, where it can.
PICTURES = ROOT / "docs" / "screenshots"
PAGES = {"benchmarks.md": "benchmarks/README.md", "changelog.md": "CHANGELOG.md"}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages, and each notebook as a file for Jupyter."""
    generated = {page: (ROOT / source).read_text("utf-8") for page, source in PAGES.items()}
    for path in sorted(NOTEBOOKS.glob("*.py")):
        notebook_cells = cells(path.read_text("utf-8"))
        generated[f"notebooks/{path.stem}.md"] = as_markdown(path.stem, notebook_cells)
        generated[f"notebooks/{path.stem}.ipynb"] = as_notebook(notebook_cells)
    for name, content in generated.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Return `markdown` with links to files of the repository as links to the pages that show them."""
    for page, source in PAGES.items():
        markdown = markdown.replace(f"](../{source}", f"]({page}")
    for picture in PICTURES.glob("*.png"):
        markdown = markdown.replace(f"<!-- picture: {picture.stem} -->", f"![]({PICTURES.name}/{picture.name})")
    return re.sub(r"\]\(\.\./examples/notebooks/(\w+)\.py", r"](notebooks/\1.md", markdown)


def cells(script: str) -> list[tuple[bool, str]]:
    """Return whether each cell of a script in the percent format is text, and its content."""
    parts = [part.partition("\n") for part in script.split("# %%")[1:]]
    return [
        (True, "\n".join(line[2:] for line in body.strip().splitlines()))
        if "[markdown]" in head
        else (False, body.strip())
        for head, _, body in parts
    ]


def as_markdown(name: str, notebook_cells: list[tuple[bool, str]]) -> str:
    """Return the page of a notebook, with a link to the notebook after its title."""
    title, _, rest = notebook_cells[0][1].partition("\n")
    parts = [title, f"[Download as a notebook]({name}.ipynb)", rest.strip()]
    parts += [content if is_text else f"```python\n{content}\n```" for is_text, content in notebook_cells[1:]]
    return "\n\n".join(parts) + "\n"


def as_notebook(notebook_cells: list[tuple[bool, str]]) -> str:
    """Return a notebook in the format of Jupyter, without outputs."""
    code: dict[str, Any] = {"cell_type": "code", "execution_count": None, "outputs": []}
    content = [
        {**({"cell_type": "markdown"} if is_text else code), "id": f"cell-{n}", "metadata": {}, "source": source}
        for n, (is_text, source) in enumerate(notebook_cells)
    ]
    return json.dumps({"cells": content, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1)
