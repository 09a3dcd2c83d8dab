"""`allennlp elmo-vocab` as it is typed."""

import gzip
from collections import Counter
from pathlib import Path

import pytest

from allennlp_elmo_plus.commands import elmo_vocab as vocab_command
from allennlp_elmo_plus.data.text.text_files import iter_sentences
from allennlp_elmo_plus.data.text.vocabulary import order_by_frequency, read_vocabulary
from tests.helpers.command_line import only_line
from tests.helpers.small_text import SENTENCES, write_text

LONG_WORD = "riverbank" * 6


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    directory = tmp_path / "shards"
    directory.mkdir()
    write_text(directory / "a.txt", [*SENTENCES[:5], [LONG_WORD, "rises"]])
    with gzip.open(directory / "b.txt.gz", "wt", encoding="utf-8") as file:
        file.writelines(" ".join(sentence) + "\n" for sentence in SENTENCES[5:])
    return directory


def test_the_vocabulary_of_shards(shards: Path, tmp_path: Path, run) -> None:
    output = tmp_path / "vocab.txt"
    ended = run("elmo-vocab", shards, "--output", output, "--min-count", 2, "--max-size", 12)
    assert ended.status == 0
    counts = Counter(word for sentence in iter_sentences(shards) for word in sentence)
    words = order_by_frequency(counts, 2, 12)
    assert read_vocabulary(output) == words and len(words) == 12
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["vocab.txt"]
    known = sum(counts[word] for word in words)
    assert f"{counts.total():,} words, {len(counts):,} distinct" in ended.out
    assert f"{known / counts.total():.3%} of the words, {9 / len(counts):.3%} of the distinct words" in ended.out
    assert f"{1 / counts.total():.4%} of the words (1, 1 distinct)" in ended.out and LONG_WORD in ended.out
    assert "100%" in ended.err


def test_two_processes_write_the_same_file(shards: Path, tmp_path: Path, run) -> None:
    files = []
    for processes in (1, 2):
        files.append(tmp_path / f"vocab{processes}.txt")
        ended = run("elmo-vocab", shards, "--output", files[-1], "--processes", processes)
        assert ended.status == 0 and "100%" in ended.err
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_good_file_passes_the_check(shards: Path, tmp_path: Path, run) -> None:
    output = tmp_path / "vocab.txt"
    run("elmo-vocab", shards, "--output", output)
    written = output.read_bytes()
    ended = run("elmo-vocab", shards, "--check", output)
    assert ended.status == 0 and f"{output}: no fault found" in ended.out and "100.000% of the words" in ended.out
    ended = run("elmo-vocab", "--check", output)
    assert ended.status == 0 and "not checked; give the training text" in ended.out
    assert output.read_bytes() == written


def test_every_fault_of_a_file_is_named(shards: Path, tmp_path: Path, run) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("<S>\n</S>\nflour\nthe\n\ntwo words\nthe\nriver\n<UNK>\n", "utf-8")
    ended = run("elmo-vocab", shards, "--check", path)
    assert ended.status == 1
    lines = [line for line in ended.err.splitlines() if line.startswith(str(path))]
    assert lines == [
        f"{path}, line 5: the line is empty, a vocabulary has one word on each line",
        f"{path}, line 6: a vocabulary has one word on each line, got 'two words'",
        f"{path}, line 7: 'the' is on line 4 already",
        f"{path}: <UNK> is on line 9, must be on one of the first 3",
        f"{path}: must be in the order of decreasing frequency; 2 words are more frequent than the word before, the first is "
        "'the' on line 4; 'river' on line 8 belongs on line 4",
    ]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["text.txt", "--output", "v.txt", "--min-count", "0"], "--min-count: must be at least 1, got 0"),
        (["text.txt", "--output", "v.txt", "--max-size", "3"], "--max-size: must be at least 4, got 3"),
        (["text.txt", "--output", "v.txt", "--processes", "many"], "must be a whole number, got 'many'"),
        (["--output", "v.txt"], "--output needs a text"),
        (["--check", "v.txt", "--max-size", "9"], "--max-size must come with --output"),
        (["text.txt"], "one of the arguments --output --check is required"),
        (["text.txt", "--check", "v.txt", "--output", "w.txt"], "not allowed with argument"),
    ],
)
def test_wrong_usage_has_status_2(arguments: list[str], message: str, run) -> None:
    ended = run("elmo-vocab", *arguments)
    assert ended.status == 2 and message in ended.err


def test_a_text_in_place_of_a_vocabulary_gives_one_line(shards: Path, run) -> None:
    path = shards / "a.txt"
    ended = run("elmo-vocab", "--check", path)
    num_lines = len(path.read_text().splitlines())
    assert ended.status == 1 and ended.out == ""
    assert only_line(ended.err) == (
        f"error: {path}: must be a vocabulary file, with one word on each line; {num_lines} of {num_lines} lines are not one word"
    )


def test_failures_have_status_1_and_one_line(shards: Path, tmp_path: Path, run) -> None:
    def failure(*arguments: object) -> str:
        ended = run("elmo-vocab", *arguments)
        assert ended.status == 1
        return only_line(ended.err)

    output = tmp_path / "vocab.txt"
    assert "there is no such file" in failure(tmp_path / "no.txt", "--output", output)
    assert "there is no directory" in failure(shards, "--output", tmp_path / "no" / "vocab.txt")
    assert "no word occurs at least 99 times" in failure(shards, "--output", output, "--min-count", 99)
    (shards / "c.txt").write_bytes(b"good\nbad \xff\n")
    assert "c.txt, line 2: byte 0xff is not UTF-8" in failure(shards, "--output", output)
    assert "the vocabulary cannot be read" in failure("--check", tmp_path / "no.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shards"]


def test_an_interrupt_leaves_the_old_file(shards: Path, tmp_path: Path, run, monkeypatch) -> None:
    output = tmp_path / "vocab.txt"
    output.write_text("old", "utf-8")

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(vocab_command, "count_words", interrupted)
    ended = run("elmo-vocab", shards, "--output", output)
    assert ended.status == 130 and only_line(ended.err) == "interrupted: no file was changed"
    assert output.read_text("utf-8") == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shards", "vocab.txt"]


def test_help_has_an_example(run) -> None:
    ended = run("elmo-vocab", "--help")
    assert ended.status == 0 and "elmo-plus vocab 'corpus/*.txt.gz' --output vocab.txt" in ended.out
