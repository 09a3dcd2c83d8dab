"""Counting the words of a text, by one process and by several."""

import gzip
import os
import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.data.text import word_counts
from allennlp_elmo_plus.data.text.text_files import MAX_LINE_BYTES, iter_sentences
from allennlp_elmo_plus.data.text.word_counts import (
    _count_part,
    _parts,
    count_words,
    num_bytes_to_read,
)
from allennlp_elmo_plus.errors import InputError


def plain_counts(spec: object) -> Counter[str]:
    return Counter(word for sentence in iter_sentences(str(spec)) for word in sentence)


def text_of(directory: Path, num_lines: int) -> Path:
    path = directory / "text.txt"
    path.write_text("".join(f"the river {number % 17} runs\u00a0slow\n\n" for number in range(num_lines)), "utf-8")
    return path


def test_the_words_of_all_files_are_counted(tmp_path: Path) -> None:
    text_of(tmp_path, 50)
    with gzip.open(tmp_path / "more.gz", "wt", encoding="utf-8") as file:
        file.write("the stone\r\nand a last line without its line feed")
    reports: list[int] = []
    assert count_words(tmp_path, report=reports.append) == plain_counts(tmp_path)
    assert sum(reports) == sum(path.stat().st_size for path in tmp_path.iterdir()) == num_bytes_to_read(tmp_path)
    assert num_bytes_to_read("-") is None


@pytest.mark.parametrize("num_parts", [2, 3, 7])
def test_the_parts_of_a_file_are_whole_lines_and_together_the_file(
    num_parts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_counts, "MIN_BYTES_PER_PROCESS", 100)
    path = text_of(tmp_path, 200)
    parts = _parts(path, num_parts)
    assert len(parts) == num_parts
    assert parts[0].start == 0 and parts[-1].end is None
    assert [part.end for part in parts[:-1]] == [part.start for part in parts[1:]]
    data = path.read_bytes()
    assert all(data[part.start - 1 : part.start] == b"\n" for part in parts[1:])
    assert sum((_count_part(part, "strict") for part in parts), Counter()) == plain_counts(path)


@settings(deadline=None)
@given(
    lines=st.lists(st.text(st.sampled_from("ab \u2003"), max_size=12), min_size=1, max_size=12),
    num_parts=st.integers(1, 9),
)
def test_lines_of_any_lengths(lines: list[str], num_parts: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("lines") / "text.txt"
    path.write_text("\n".join(["a", *lines]), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_counts, "MIN_BYTES_PER_PROCESS", 1)
        counts = sum((_count_part(part, "strict") for part in _parts(path, num_parts)), Counter())
    assert counts == plain_counts(path)


def test_a_line_that_is_too_long_is_refused_before_it_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_counts, "MIN_BYTES_PER_PROCESS", 100)
    monkeypatch.setattr(word_counts, "MAX_LINE_BYTES", 1000)
    path = tmp_path / "text.txt"
    path.write_bytes(b"a" * 100_000)
    assert [part.end for part in _parts(path, 2)] == [51_001, None]
    monkeypatch.undo()
    with path.open("wb") as file:
        file.truncate(5 * MAX_LINE_BYTES)
    with pytest.raises(InputError, match="line 1: the line is longer than"):
        count_words(path, num_processes=2)


def test_several_processes_count_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_counts, "MIN_BYTES_PER_PROCESS", 100)
    path = text_of(tmp_path, 200)
    reports: list[int] = []
    assert count_words(path, num_processes=2, report=reports.append) == plain_counts(path)
    assert sum(reports) == path.stat().st_size == num_bytes_to_read(path)
    with path.open("ab") as file:
        file.write(b"bad \xff byte\n")
    with pytest.raises(InputError, match="text.txt, line 401: byte 0xff is not UTF-8"):
        count_words(path, num_processes=2)
    assert count_words(path, "replace", num_processes=2)["\ufffd"] == 1


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_byte_order_mark_is_no_part_of_a_word(
    num_processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_counts, "MIN_BYTES_PER_PROCESS", 8)
    # The second half of the file begins with a mark that is not at the beginning of the file.
    (tmp_path / "a.txt").write_text("\ufeffthe mill\n\ufeffthe mill turns\n", "utf-8")
    reports: list[int] = []
    counts = count_words(tmp_path, num_processes=num_processes, report=reports.append)
    assert counts == {"the": 1, "mill": 2, "\ufeffthe": 1, "turns": 1}
    assert sum(reports) == num_bytes_to_read(tmp_path)


def test_json_lines_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "the mill"}\n', "utf-8")
    with pytest.raises(InputError, match="a.jsonl: must be plain text, .*, got JSON lines"):
        count_words(tmp_path / "a.jsonl")


@pytest.mark.parametrize("is_pipe", [False, True])
def test_a_text_that_can_be_read_only_once_is_counted_beside_files(
    is_pipe: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("the mill\n", "utf-8")
    reading, writing = os.pipe()
    os.write(writing, b"the river\n")
    os.close(writing)
    spec = f"/dev/fd/{reading}" if is_pipe else "-"
    monkeypatch.setattr("sys.stdin", os.fdopen(reading, closefd=False))
    counts = count_words(f"{tmp_path}/a.txt,{spec},{tmp_path}/b.txt", num_processes=2)
    os.close(reading)
    assert counts == {"the": 3, "mill": 2, "river": 1}


def test_a_pipe_of_compressed_text_reports_the_bytes_of_the_text(tmp_path: Path) -> None:
    pipe, reports = tmp_path / "pipe.gz", list[int]()
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(gzip.compress(b"the mill\nthe river\n"),), daemon=True)
    writer.start()
    assert count_words(pipe, report=reports.append) == {"the": 2, "mill": 1, "river": 1}
    writer.join()
    assert sum(reports) == len("the mill\nthe river\n")


def test_text_without_words_and_bad_arguments(tmp_path: Path) -> None:
    path = tmp_path / "empty.txt"
    path.write_text("\n\n", "utf-8")
    with pytest.raises(InputError, match="empty.txt`: there is not one word in this text$"):
        count_words(path)
    with pytest.raises(ValueError, match="^`num_processes` must be at least 1, got 0$"):
        count_words(path, num_processes=0)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"one two\ntwo\n")
    os.close(writing)
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert count_words("-", num_processes=2) == Counter(one=1, two=2)
