"""The pages of the examples that measure show the figures of their files `figures.jsonl`."""

from importlib import import_module
from pathlib import Path

import pytest

from examples.shared import tables

EXAMPLES = sorted(path.parent.name for path in Path("examples").glob("*/figures.jsonl"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_page_has_the_tables_of_its_figures(name):
    for page, table, text in import_module(f"examples.{name}.tables").tables():
        assert f"<!-- table {table} -->\n\n{text}\n\n<!-- end of {table} -->\n" in page.read_text("utf-8")


def test_a_written_table_replaces_the_one_before(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- table one -->\nold\n<!-- end of one -->\nbelow\n", encoding="utf-8")
    text = tables.markdown_table(["vectors", "LAS"], [["biLM", "75.8"]])
    tables.replace_table(page, "one", text)
    expected = "above\n<!-- table one -->\n\n| vectors | LAS |\n| --- | ---: |\n| biLM | 75.8 |\n\n<!-- end of one -->\nbelow\n"
    assert page.read_text("utf-8") == expected
    with pytest.raises(ValueError, match="<!-- table two -->"):
        tables.replace_table(page, "two", text)
