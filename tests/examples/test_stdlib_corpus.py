"""The example that makes a corpus of the docstrings of Python's standard library."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allennlp_elmo_plus.data.text.raw.preparation import digest_of, is_held_out
from examples.stdlib_corpus import main, python_files, write_corpus
from examples.stdlib_text import (
    docstrings,
    paragraphs,
    prose_sentences,
    sentences,
    tokenize,
)

MODULE = '''"""
Keeps the ferries' timetable.  It is read once a day (at noon); see
`ferry.timetable` for the format.

>>> sail("north")
'Sailed to the north.'

Some examples of what may be asked::

    The harbour is not a sentence of prose. Sail at dawn.

====  =========
Time  Departure
====  =========

Arguments are few:

- The first names the harbour,
  wherever it lies.
- name = value

options:
  -v  Print more than this.
"""

class Ferry:
    """Carries people across e.g. the strait. Nobody minds
    the rain."""

    async def sail(self):
        r"""Return the captain\'s own *first* words to ``the crew``."""

    def stop(self):
        x = "This string is no documentation."
'''
PROSE = [
    "Keeps the ferries ' timetable .",
    "It is read once a day ( at noon ) ; see ferry.timetable for the format .",
    "The first names the harbour , wherever it lies .",
    "Carries people across e.g. the strait .",
    "Nobody minds the rain .",
    "Return the captain's own first words to the crew .",
]


def test_only_prose_of_docstrings_becomes_sentences():
    assert list(prose_sentences(MODULE.encode())) == PROSE


def test_with_every_string_strings_in_the_code_become_sentences_too():
    assert "This string is no documentation ." in list(prose_sentences(MODULE.encode(), every_string=True))


@pytest.mark.parametrize("source", [b"def f(:\n", b"x = '\0'\n", b"\xff\xfe\n", b"# -*- coding: utf-9 -*-\n"])
def test_a_file_that_does_not_parse_has_no_docstrings(source):
    assert list(docstrings(source)) == []


@pytest.mark.parametrize(
    ("sentence", "tokens"),
    [
        ("Don't call os.path.join() twice.", ["Don't", "call", "os.path.join()", "twice", "."]),
        ("A read-only file, 3.14 (or so)!", ["A", "read-only", "file", ",", "3.14", "(", "or", "so", ")", "!"]),
        ("The 'name' of __init__.py...", ["The", "'", "name", "'", "of", "__init__.py", "..."]),
    ],
)
def test_a_sentence_is_split_into_tokens(sentence, tokens):
    assert tokenize(sentence) == tokens


@given(st.text(max_size=80))
def test_tokens_have_all_characters_but_white_space(text):
    assert "".join(tokenize(text)) == re.sub(r"\s", "", text)


def test_an_abbreviation_does_not_end_a_sentence():
    assert list(sentences("Use it, e.g. Python's own. (Or not.) A stub")) == ["Use it, e.g. Python's own.", "(Or not.)"]


@given(st.text(alphabet="ab .:-*`\n>=()", max_size=60))
def test_paragraphs_are_single_lines(text):
    assert all("\n" not in paragraph and "  " not in paragraph for paragraph in paragraphs(text))


def test_files_of_tests_and_of_other_packages_are_omitted(tmp_path):
    for name in (
        "b.py",
        "a.py",
        "notes.txt",
        "test_a.py",
        "site-packages/x.py",
        "test/y.py",
        "email/tests/z.py",
        "email/w.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert [str(path.relative_to(tmp_path)) for path in python_files(tmp_path)] == ["a.py", "b.py", "email/w.py"]


def test_the_held_out_sentences_are_always_the_same_and_have_about_the_requested_share():
    sentences = [f"Sentence number {number} ." for number in range(10_000)]
    held_out = [sentence for sentence in sentences if is_held_out(digest_of(sentence), 5)]
    assert 400 < len(held_out) < 600
    assert held_out[0] == "Sentence number 14 ."
    assert set(held_out) < {sentence for sentence in sentences if is_held_out(digest_of(sentence), 10)}


def test_a_corpus_holds_each_sentence_once_and_is_reproducible(tmp_path):
    source = tmp_path / "ferry.py"
    source.write_text(MODULE)
    line = write_corpus([source, source], tmp_path / "out", heldout_percent=50)
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    write_corpus([source], tmp_path / "out", heldout_percent=50)
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert sorted(b"".join(first.values()).decode().splitlines()) == sorted(PROSE)
    assert set(first) == {"train.txt", "heldout.txt"} and all(first.values())
    assert re.fullmatch(r".*out: 6 sentences \(\d held out\), \d+ tokens, \d+ types, from 2 files", line)


@pytest.mark.parametrize("percent", ["0", "100", "-3", "nan"])
def test_a_share_that_leaves_one_file_empty_is_refused(percent, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path), f"--heldout-percent={percent}"])
    assert f"--heldout-percent must lie between 0 and 100, got {percent}" in capsys.readouterr().err


@pytest.mark.slow
def test_the_example_runs_on_the_standard_library(tmp_path):
    command = [sys.executable, "-m", "examples.stdlib_corpus", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert result.stdout.count("\n") == 1 and result.stderr == ""
    train, heldout = ((tmp_path / name).read_text("utf-8").split() for name in ("train.txt", "heldout.txt"))
    assert len(train) + len(heldout) > 150_000
    assert 0.03 < len(heldout) / len(train) < 0.08
