"""Minimal pairs in the forms of Zorro and BLiMP and in tables, and damaged files."""

import gzip
import json
from pathlib import Path

import pytest

from allennlp_elmo_plus.data.text.minimal_pairs import MinimalPair, read_pairs
from allennlp_elmo_plus.data.text.raw.segmentation import Segmenter
from allennlp_elmo_plus.errors import InputError

THING = ["look", "at", "this", "thing"], ["look", "at", "this", "things"]
COLOR = ["this", "color"], ["this", "colors"]


def split(texts: list[str]) -> list[list[str]]:
    return [text.split() for text in texts]


def pairs_of(path: Path, text: str) -> list[MinimalPair]:
    path.write_text(text, encoding="utf-8")
    return list(read_pairs(str(path), split))


def test_lines_in_turn(tmp_path: Path) -> None:
    text = "look at this things\nlook at this thing\n\nthis colors\r\nthis color\r\n\n"
    path = tmp_path / "agreement-near.txt"
    expected = [
        MinimalPair(str(path), 1, "agreement-near", *THING),
        MinimalPair(str(path), 4, "agreement-near", *COLOR),
    ]
    assert pairs_of(path, text) == expected
    with gzip.open(tmp_path / "agreement-near.txt.gz", "wt") as file:
        file.write(text)
    assert [pair[1:] for pair in read_pairs(f"{tmp_path}/*.gz", split)] == [pair[1:] for pair in expected]


def test_json_lines_of_blimp(tmp_path: Path) -> None:
    records = [
        {
            "sentence_good": "look at this thing",
            "sentence_bad": "look at this things",
            "linguistics_term": "a",
            "UID": "b",
        },
        {"sentence_bad": "this colors", "sentence_good": "this color", "UID": "b"},
        {"sentence_bad": "this colors", "sentence_good": "this color", "linguistics_term": None},
    ]
    path = tmp_path / "c.jsonl"
    assert [pair[1:] for pair in pairs_of(path, "".join(f"{json.dumps(record)}\n" for record in records))] == [
        (1, "a", *THING),
        (2, "b", *COLOR),
        (3, "c", *COLOR),
    ]


def test_a_table_names_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "c.tsv"
    assert [pair[1:] for pair in pairs_of(path, "unacceptable\tnote\tacceptable\nthis colors\t\tthis color\n")] == [
        (2, "c", *COLOR)
    ]
    text = "phenomenon\tacceptable\tunacceptable\nd\tlook at this thing\tlook at this things\n\ne\tthis color\tthis colors\n"
    assert [pair[1:] for pair in pairs_of(path, text)] == [(2, "d", *THING), (4, "e", *COLOR)]


def test_words_can_be_split_by_rules(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"sentence_good": "Who hasn\'t he met? No.", "sentence_bad": "\\"A, b\\""}\n', "utf-8")
    (pair,) = read_pairs(str(path), Segmenter("en").words)
    assert pair.acceptable == ["Who", "has", "n't", "he", "met", "?", "No", "."]
    assert pair.unacceptable == ['"', "A", ",", "b", '"']


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "FILE: must hold minimal pairs, got none"),
        ("acceptable\tunacceptable\n", "FILE: must hold minimal pairs, got none"),
        (
            "a\nb\nc\n",
            "FILE, line 3: an unacceptable sentence must be followed by an acceptable one, got the end of the file",
        ),
        ("a\n\nb\n", "FILE, line 1: an unacceptable sentence must be followed by an acceptable one, got a blank line"),
        ("good\tbad\n", "FILE: the first row of a table must name the column `acceptable`, got ['good', 'bad']"),
        ("acceptable\tunacceptable\na\n", "FILE, line 2: a row must have 2 columns, as the first one, got 1"),
        ("acceptable\tunacceptable\na\t \n", "FILE, line 2: a sentence must have a word, got ' '"),
        ('{"sentence_good": "a"}\n', "FILE, line 1: `sentence_bad` must be a sentence, got None"),
        ('{"sentence_good": "a", "sentence_bad": ""}\n', "FILE, line 1: a sentence must have a word, got ''"),
        ('{"sentence_good": ["a"]}\n', "FILE, line 1: `sentence_good` must be a sentence, got ['a']"),
        (
            '{"sentence_good": "a", "sentence_bad": "b"}\n{"sente\n',
            "FILE, line 2: must be a JSON object, as the first line, got '{\"sente'",
        ),
        ("[\n", "FILE, line 1: must be a JSON object, as the first line, got '['"),
        (
            '{"sentence_good": "\\ud800"}\n',
            'FILE, line 1: must be a JSON object, as the first line, got \'{"sentence_good": "\\\\ud800"}\'',
        ),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs"
    with pytest.raises(InputError) as caught:
        pairs_of(path, text)
    assert str(caught.value) == message.replace("FILE", str(path))
