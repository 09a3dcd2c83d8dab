import gzip
import io
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.data.text import text_files as text
from allennlp_elmo_plus.data.text.text_files import (
    MAX_LINE_BYTES,
    iter_sentence_blocks,
    iter_sentences,
    resolve_paths,
)
from allennlp_elmo_plus.errors import InputError


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def refuse(spec: object, message: str, encoding_errors: str = "strict") -> None:
    with pytest.raises(InputError, match=message) as caught:
        list(iter_sentences(str(spec), encoding_errors))
    assert "\n" not in str(caught.value)


# Paths


def test_specs_name_files_in_reading_order(tmp_path):
    for name in ("b.txt", "a.txt", "c.dat", ".hidden.txt"):
        write(tmp_path / name, b"x\n")
    (tmp_path / "inner").mkdir()
    write(tmp_path / "inner" / "d.txt", b"x\n")
    a, b, c, d = (tmp_path / name for name in ("a.txt", "b.txt", "c.dat", "inner/d.txt"))
    assert resolve_paths(a) == resolve_paths(str(a)) == [a]
    assert resolve_paths(tmp_path) == [a, b, c]
    assert resolve_paths(f"{tmp_path}/*.txt") == [a, b]
    assert resolve_paths(f"{tmp_path}/i*/*") == [d]
    assert resolve_paths(f"{tmp_path}/*") == [a, b, c]
    assert resolve_paths(f"{c}, {tmp_path}/[ab].txt,-,{tmp_path}/inner") == [c, a, b, "-", d]


def test_a_path_that_exists_is_no_pattern_and_no_list(tmp_path):
    odd = tmp_path / "a,b[1]*.txt"
    odd.touch()
    assert resolve_paths(odd) == [odd]


@pytest.mark.parametrize(
    "spec, message",
    [
        ("{dir}/absent.txt", "^`{dir}/absent.txt`: there is no such file$"),
        ("{dir}/train.txt", "^`{dir}/train.txt`: there is no such file$"),
        ("data/none/../train.txt", "^`data/none/../train.txt`: there is no such file$"),
        ("{dir}/*.gz", r"^`{dir}/\*.gz`: the pattern matches no file$"),
        ("{dir}/empty", "^`{dir}/empty`: the directory holds no file to read$"),
        ("{dir}/a.txt,{dir}/absent", r"^`{dir}/absent` \(in `{dir}/a.txt,{dir}/absent`\): there is no such file$"),
        ("{dir}/a.txt,", r"^the text to read is named by an empty path \(in `{dir}/a.txt,`\)$"),
        ("", "^the text to read is named by an empty path$"),
    ],
)
def test_a_spec_that_names_nothing_is_refused_before_reading(tmp_path, spec, message):
    write(tmp_path / "a.txt", b"x\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message.format(dir=tmp_path)):
        iter_sentences(spec.format(dir=tmp_path))


# Sentences


def test_sentences_are_lines_and_blank_lines_are_sentences(tmp_path):
    path = write(tmp_path / "a.txt", "The  cat\tsat .\r\n\n \u3000\n한국어\u00a0문장\u2028x\rlast".encode())
    assert list(iter_sentences(path)) == [["The", "cat", "sat", "."], [], [], ["한국어", "문장", "x", "last"]]


@settings(max_examples=50, deadline=None)
@given(data=st.data(), block=st.integers(1, 12))
def test_sentences_do_not_depend_on_the_blocks_read(tmp_path_factory, data, block):
    lines = data.draw(st.lists(st.text(st.sampled_from("ab 강\r\x85😀"), max_size=8), min_size=1, max_size=8))
    joined = "\n".join([*lines, "end"]) + data.draw(st.sampled_from(["", "\n"]))
    path = write(tmp_path_factory.getbasetemp() / "blocks.txt", joined.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "_READ_BYTES", block)
        assert list(iter_sentences(path)) == [line.split() for line in lines] + [["end"]]


def test_blocks_hold_the_same_sentences_and_are_read_on_demand(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "_READ_BYTES", 100)
    path = write(tmp_path / "a.txt", b"one two\n" * 50 + b"\xff\n")
    blocks = iter_sentence_blocks(path)
    assert next(blocks) == [["one", "two"]] * 12
    with pytest.raises(InputError, match="line 51"):
        list(blocks)


def test_files_are_read_in_order_and_gzip_is_decompressed(tmp_path):
    write(tmp_path / "1.txt.gz", gzip.compress("á b\nc".encode()))
    write(tmp_path / "2.txt", b"")
    write(tmp_path / "3.txt", b"d\n")
    assert list(iter_sentences(str(tmp_path))) == [["á", "b"], ["c"], ["d"]]


def test_standard_input_is_a_file(tmp_path, monkeypatch):
    path = write(tmp_path / "a.txt", b"from file\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("tiếng Việt\n".encode())))
    assert list(iter_sentences(f"-,{path}")) == [["tiếng", "Việt"], ["from", "file"]]
    refuse("-", r"^`-`: there is not one word in this text \(standard input can be read only once")


def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path, caplog):
    write(tmp_path / "1.txt", b"\xef\xbb\xbfthe mill\nthe \xef\xbb\xbfmill\n")
    write(tmp_path / "2.txt.gz", gzip.compress(b"\xef\xbb\xbfthe river\n"))
    assert list(iter_sentences(str(tmp_path))) == [["the", "mill"], ["the", "\ufeffmill"], ["the", "river"]]
    assert list(iter_sentences(str(tmp_path / "1.txt")))[0] == ["the", "mill"]
    # One warning per file.
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}/{name}: the byte order mark at its beginning is left out" for name in ("1.txt", "2.txt.gz")
    ]


# Bad text


JSON_LINES = '{"text": "the mill turns", "tags": ["a"]}\n\n{"text": "b", "tags": []}\n'


@pytest.mark.parametrize(
    "lines, advice",
    [
        (
            JSON_LINES,
            "; `elmo-plus prepare FILE DIRECTORY --field text --language CODE` takes the text out and splits it so",
        ),
        (
            "\ufeff" + JSON_LINES,
            "; `elmo-plus prepare FILE DIRECTORY --field text --language CODE` takes the text out and splits it so",
        ),
        (
            '{"words": ["the", "mill"]}\n',
            "; `elmo-plus prepare FILE DIRECTORY --field KEY --language CODE` takes the text out and splits it so",
        ),
        ('["the", "mill"]\n["turns"]\n', """; write it so, for example by `jq -r 'join(" ")' FILE`"""),
    ],
)
def test_json_lines_are_no_text(tmp_path, lines, advice):
    path = write(tmp_path / "a.jsonl", lines.encode())
    rule = "must be plain text, one sentence per line, words separated by white space, got JSON lines"
    with pytest.raises(InputError) as caught:
        list(iter_sentences(path))
    assert str(caught.value) == f"{path}: {rule}{advice}"


@pytest.mark.parametrize(
    "lines", ["{ }\n[ 1 ]\n", '{"a": 1}\nand so on\n', "[ ]\n", '" a "\n', "[ 1 , 2 ]\n", "1\n2\n"]
)
def test_text_with_brackets_is_text(tmp_path, lines):
    assert list(iter_sentences(write(tmp_path / "a.txt", lines.encode()))) == [
        line.split() for line in lines.splitlines()
    ]


@pytest.mark.parametrize("data", [b"", b"\n", b" \n\r\n\t"])
def test_text_without_a_word_is_refused(tmp_path, data):
    path = write(tmp_path / "a.txt", data)
    refuse(path, f"^`{path}`: there is not one word in this text$")


def test_bytes_that_are_not_utf8_are_refused_or_replaced(tmp_path):
    path = write(tmp_path / "latin.txt", b"fine\nalso fine\ncaf\xe9 x\nend \xe2\x82\n")
    refuse(
        path,
        rf'^{path}, line 3: byte 0xe9 is not UTF-8 \(with `encoding_errors: "replace"` such bytes are read as U\+FFFD',
    )
    # Without an option of the caller, no advice to set it.
    with pytest.raises(InputError, match=f"^{path}, line 3: byte 0xe9 is not UTF-8$"):
        list(iter_sentences(path))
    assert list(iter_sentences(path, "replace")) == [["fine"], ["also", "fine"], ["caf\ufffd", "x"], ["end", "\ufffd"]]


def test_lines_are_counted_across_blocks_and_within_each_file(tmp_path, monkeypatch):
    write(tmp_path / "1.txt", b"a\n" * 50)
    path = write(tmp_path / "2.txt", b"b\n" * 30 + b"\0\n")
    for block in (1, 7, 1000):
        monkeypatch.setattr(text, "_READ_BYTES", block)
        refuse(tmp_path, f"^{path}, line 31: NUL byte, so this is not UTF-8 text$", encoding_errors="replace")


def test_a_line_may_be_as_long_as_the_limit_and_no_longer(tmp_path):
    longest = b"a " * (MAX_LINE_BYTES // 2)
    for prefix in (b"", b"b\n", b"b" * 1000 + b"\n"):
        path = write(tmp_path / "a.txt", prefix + longest + b"\n" + longest)
        assert sum(map(len, iter_sentences(path))) == MAX_LINE_BYTES + bool(prefix)
        for rest in (b"a", b"a\nb\n", b"a" * 10 * MAX_LINE_BYTES):
            path = write(tmp_path / "a.txt", prefix + longest + rest)
            refuse(path, f"^{path}, line {1 + bool(prefix)}: the line is longer than 1048576 bytes$")


def test_a_damaged_gzip_file_is_refused(tmp_path):
    whole = gzip.compress(b"some words in a line\n" * 1000)
    path = write(tmp_path / "a.gz", whole[:-20])
    refuse(path, f"^{path}: not a whole gzip file")
    refuse(write(tmp_path / "a.gz", b"plain text\n"), f"^{path}: not a whole gzip file")
    refuse(write(tmp_path / "a.gz", whole[:40] + b"\x00" * 20 + whole[60:]), f"^{path}: not a whole gzip file")


def test_a_file_that_vanishes_is_refused(tmp_path):
    path = write(tmp_path / "a.txt", b"x\n")
    sentences = iter_sentences(path)
    Path(path).unlink()
    with pytest.raises(InputError, match=f"^{path}: cannot be read .No such file or directory.$"):
        next(sentences)


def test_an_unknown_value_of_encoding_errors_is_refused(tmp_path):
    refuse(tmp_path, '^`encoding_errors` must be "strict" or "replace", got \'ignore\'$', encoding_errors="ignore")
