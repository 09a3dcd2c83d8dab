"""The pages of the examples that measure show the figures of their files `figures.jsonl`."""

import json
import re
import statistics
from pathlib import Path

import pytest

from examples.shared import tables
from examples.shared.figures import Figures

EXAMPLES = sorted(path.parent.name for path in Path("examples").glob("*/figures.jsonl"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_page_has_the_tables_of_its_figures(name):
    for page, table, text in tables.tables_of(name):
        assert f"<!-- table {table} -->\n\n{text}\n\n<!-- end of {table} -->\n" in page.read_text("utf-8")


def mean(example, figure, scale=1.0, **key):
    lines = Figures(Path("examples", example, "figures.jsonl")).lines(key)
    return f"{scale * statistics.mean(line[figure] for line in lines):.1f}"


def test_the_results_in_the_readme_are_the_means_of_the_figures():
    chunks = [("bilm", 0.01), ("bilm", 1.0), ("flair", 0.01), ("flair", 1.0), ("none", 0.01), ("none", 1.0)]
    parsers = [
        (vectors, language)
        for vectors in ("bilm", "fasttext", "word2vec")
        for language in ("wolof", "maltese", "tamil")
    ]
    zorro = {"phenomenon": "all", "words": "known"}
    topics = [{"words": "morphemes", "name": "idf_mean"}, {"words": "spaces", "name": "TF-IDF"}]
    expected = {
        "chunks": [mean("chunking", "F1", task="chunks", vectors=vectors, share=share) for vectors, share in chunks],
        "parsing": [
            mean("low_resource", "LAS", task="parser_small", vectors=vectors, language=language)
            for vectors, language in parsers
        ],
        "grammar": [
            mean("grammar", score, 100, scorer=scorer, **zorro)
            for scorer, score in (("biLM", "both"), ("5-gram", "forward"))
        ],
        "topics": [mean("petitions", "accuracy", regression="ridge", **key) for key in topics],
    }
    found = {}
    for first_word in expected:
        (row,) = re.findall(rf"^\| {first_word}\b.*$", Path("README.md").read_text("utf-8"), re.MULTILINE)
        found[first_word] = re.findall(r"\d+\.\d", row.split("|", 2)[2])
    assert found == expected


def test_a_written_table_replaces_the_one_before(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- table one -->\nold\n<!-- end of one -->\nbelow\n", encoding="utf-8")
    text = tables.markdown_table(["vectors", "LAS"], [["biLM", "75.8"]])
    tables.replace_table(page, "one", text)
    expected = "above\n<!-- table one -->\n\n| vectors | LAS |\n| --- | ---: |\n| biLM | 75.8 |\n\n<!-- end of one -->\nbelow\n"
    assert page.read_text("utf-8") == expected
    with pytest.raises(ValueError, match="<!-- table two -->"):
        tables.replace_table(page, "two", text)


def test_tables_of_other_figures_are_printed_and_change_no_page(tmp_path, monkeypatch, capsys):
    line = {
        "words": "spaces",
        "part": "bilm",
        "perplexity": 7.0,
        "forward_perplexity": 6.0,
        "backward_perplexity": 8.0,
        "minutes": 9.0,
    }
    other = {"words": "spaces", "part": "vectors", "minutes": 5.0}
    (tmp_path / "f.jsonl").write_text(f"{json.dumps(line)}\n{json.dumps(other)}\n", encoding="utf-8")
    before = Path("examples/petitions/README.md").read_text("utf-8")
    monkeypatch.setattr("sys.argv", ["tables", "petitions", "--figures", str(tmp_path / "f.jsonl")])
    tables.main()
    assert "| spaces | 7.0 | 6.0 | 8.0 | 9.0 | 5.0 |" in capsys.readouterr().out
    assert Path("examples/petitions/README.md").read_text("utf-8") == before


def test_figures_are_kept_in_a_directory_that_does_not_exist_yet(tmp_path):
    figures = Figures(tmp_path / "runs" / "figures.jsonl")
    measure = iter([{"F1": 2.0}, {"F1": 3.0}]).__next__
    assert [figures.once({"seed": 1}, measure) for _ in range(2)] == [{"seed": 1, "F1": 2.0}] * 2
