"""The command `allennlp elmo-encode`."""

import os
from pathlib import Path

import pytest

from tests.helpers.command_line import only_line


def test_a_text_that_can_be_read_only_once_is_refused_before_it_is_read(tmp_path: Path, run) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"the river rises .\n")
    os.close(writing)
    for text, name in (("-", "standard input"), (f"/dev/fd/{reading}", f"/dev/fd/{reading}")):
        ended = run("elmo-encode", text, tmp_path / "encoded")
        assert ended.status == 1
        assert only_line(ended.err) == (
            f"error: `text` must be files, so that training can compare them with the encoding, got {name}"
        )
    assert os.read(reading, 100) == b"the river rises .\n" and list(tmp_path.iterdir()) == []
    os.close(reading)


@pytest.mark.parametrize("num_sentences, counts", [(1, "1 sentence, 1 word, 1 distinct"), (2, "2 sentences, 2 words")])
def test_what_was_encoded_is_printed(num_sentences: int, counts: str, tmp_path: Path, run) -> None:
    (tmp_path / "text.txt").write_text("river\n" * num_sentences)
    ended = run("elmo-encode", tmp_path / "text.txt", tmp_path / "encoded")
    assert ended.status == 0 and ended.out.startswith(f"encoded {counts}, "), ended.out


def test_too_many_characters_are_refused_in_one_line(tmp_path: Path, run) -> None:
    (tmp_path / "text.txt").write_text("river\n")
    ended = run("elmo-encode", tmp_path / "text.txt", tmp_path / "encoded", "--max-characters-per-token", 2000)
    assert ended.status == 1 and only_line(ended.err) == "error: `max_characters` must be at most 1024, got 2000"
