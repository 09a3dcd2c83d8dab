"""Documents of plain text, JSON lines and tables."""

import gzip
import io
import sys
from pathlib import Path
from typing import Any

import pytest

from allennlp_elmo_plus.data.text.raw import documents as documents_module
from allennlp_elmo_plus.data.text.raw.documents import iter_documents
from allennlp_elmo_plus.errors import InputError

PLAIN = "The mill\r\n  turns.\n\n \nIt\trains.\n"
JSON_LINES = '{"id": 1, "body": "The mill\\nturns.\\n\\nIt rains."}\n\n{"body": null}\n{"body": "Snow."}\n'
TABLE = 'id,body\n1,"The ""mill"", \nturns.\n\nIt rains."\n\n2,\n'


def documents(directory: Path, name: str, content: str, **options: Any) -> list[list[str]]:
    """Return the documents of a file `name` with this `content`."""
    data = content.encode("utf-8")
    path = directory / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return list(iter_documents(path, **options))


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "\ufeffa"])
def test_each_paragraph_of_plain_text_is_a_document(tmp_path: Path, name: str) -> None:
    assert documents(tmp_path, name, PLAIN) == [["The mill turns."], ["It rains."]]
    assert documents(tmp_path, name, PLAIN, paragraph_per_line=True) == [["The mill"], ["turns."], ["It rains."]]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json.gz", "a"])
def test_each_object_of_json_lines_is_a_document(tmp_path: Path, name: str) -> None:
    expected = [["The mill turns.", "It rains."], [], ["Snow."]]
    assert documents(tmp_path, name, f"\ufeff{JSON_LINES}", field="body") == expected
    by_line = documents(tmp_path, name, JSON_LINES, field="body", paragraph_per_line=True)
    assert by_line[0] == ["The mill", "turns.", "It rains."]


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("A.CSV", ";"), ("a.tsv.gz", "\t"), ("a.csv", "\t")])
def test_each_row_of_a_table_is_a_document(tmp_path: Path, name: str, separator: str) -> None:
    table = "\ufeff" + TABLE.replace("id,", f"id{separator}").replace("1,", f"1{separator}").replace(
        "2,", f"2{separator}"
    )
    assert documents(tmp_path, name, table, field="body") == [['The "mill", turns.', "It rains."], []]


def test_a_quoted_field_may_have_tabs_and_line_ends(tmp_path: Path) -> None:
    table = 'id\tbody\n1\t"It rains.\tMuch.\tToday.\nIt snows."\n'
    assert len(documents(tmp_path, "a.tsv", table, field="body")) == 1


def test_a_table_of_one_column_needs_no_separator(tmp_path: Path) -> None:
    assert documents(tmp_path, "a.csv", "body\nIt rains.\n", field="body") == [["It rains."]]


def test_records_may_be_longer_than_lines_of_text(tmp_path: Path) -> None:
    book = "It rains. " * 60_000
    field = f"{book}\\n\\n{book}\\n\\n{book}"
    assert documents(tmp_path, "a.jsonl", f'{{"body": "{field}"}}\n', field="body") == [[book.strip()] * 3]
    table = f'body\n"{field}"\n'.replace("\\n", "\n")
    assert documents(tmp_path, "a.csv", table, field="body") == [[book.strip()] * 3]


def test_standard_input_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(JSON_LINES.encode())))
    counted: list[int] = []
    assert len(list(iter_documents("-", "body", report=counted.append))) == 3
    assert sum(counted) == len(JSON_LINES)


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_the_bytes_of_a_file_are_reported(tmp_path: Path, name: str) -> None:
    counted: list[int] = []
    documents(tmp_path, name, PLAIN * 100_000, report=counted.append)
    assert sum(counted) == (tmp_path / name).stat().st_size
    assert len(counted) > 1


@pytest.mark.parametrize(
    ("name", "content", "field", "message"),
    [
        ("a.txt", JSON_LINES, None, "got JSON lines; `elmo-plus prepare FILE DIRECTORY --field body --language CODE` takes"),
        ("a.txt", "It rains.\n", "body", "a.txt, line 1: must be a JSON object, because `--field` reads JSON lines, got 'It rains.'"),
        ("a.jsonl", '{"body": "a"}\n[1]\n', "body", "a.jsonl, line 2: must be a JSON object, because `--field` reads JSON lines, got '"),
        ("a.json", '[{"body": 1},\n', "body", "; `jq -c '.[]' FILE` makes lines of a list"),
        ("a.jsonl", '{"id": 1, "bodi": ""}\n', "body", "a.jsonl, line 1: `--field` must be one of 'id', 'bodi', got 'body'"),
        ("a.jsonl", "{}\n", "body", "a.jsonl, line 1: `--field` must be one of no field, got 'body'"),
        ("a.jsonl", '{"body": 3}\n', "body", "a.jsonl, line 1: the field 'body' must be text, got 3"),
        ("a.jsonl", '{"body": "\\u0000"}\n', "body", "line 1: the field 'body' must be text, got a NUL character"),
        ("a.jsonl", '{"body": "\\ud800"}\n', "body", "line 1: the field 'body' must be text, got a NUL character or half a surrogate"),
        ("a.csv", TABLE, None, "a.csv: `--field` must be one of 'id', 'body', got none"),
        ("a.csv", TABLE, "text", "a.csv: `--field` must be one of 'id', 'body', got 'text'"),
        ("a.csv", "", "text", "a.csv: `--field` must be one of no field, got 'text'"),
        ("a.csv", "id,body\n1,2,3\n", "body", "a.csv, line 2: a row must have 2 columns, as the first one, got 3"),
        ("a.csv", 'id,body\n1,"2\n', "body", "a.csv, line 2: must be a row of a table (CSV), got: unexpected end of data"),
        ("a.tsv", 'body\tid\n"He came.\t1\nHe left."\t2\n', "body", "a.tsv, line 3: a quotation mark that opens a field seems to"),
        ("a.fasta", ">P1\nMK\n", None, "a.fasta: a FASTA file needs no preparation, every command reads it"),
    ],
)  # fmt: skip
def test_what_is_no_raw_text_is_refused_in_one_line(
    tmp_path: Path, name: str, content: str, field: str, message: str
) -> None:
    with pytest.raises(InputError) as error:
        documents(tmp_path, name, content, field=field)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_too_long_a_paragraph_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents_module, "MAX_PARAGRAPH_CHARACTERS", 20)
    message = (
        "a.txt: a paragraph must have at most 20 characters, got more after 'It rains. It snows. It blows.'; if each"
    )
    with pytest.raises(InputError, match=message):
        documents(tmp_path, "a.txt", "It rains.\nIt snows.\nIt blows.\n")
    assert len(documents(tmp_path, "a.txt", "It rains.\nIt snows.\nIt blows.\n", paragraph_per_line=True)) == 3
    # spaCy gets a space between two lines.
    assert len(documents(tmp_path, "a.txt", "1234\n" * 4)) == 1
    with pytest.raises(InputError, match="at most 20 characters"):
        documents(tmp_path, "a.txt", "123\n" * 6)
    with pytest.raises(InputError, match="a.jsonl, line 2: a paragraph must have at most 20 characters"):
        documents(tmp_path, "a.jsonl", '{"a": ""}\n{"a": "It rains in the mountains."}\n', field="a")
