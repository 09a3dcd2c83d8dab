import gzip
import io
import sys
from pathlib import Path

import pytest

from allennlp_elmo_plus.data.text import text_files as text
from allennlp_elmo_plus.data.text.conll import read_tagged_sentences
from allennlp_elmo_plus.errors import InputError

CONLLU = """# sent_id = 1
# text = We don't row.
1\tWe\twe\tPRON\t_\t_\t4\tnsubj\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdo\tdo\tAUX\t_\t_\t4\taux\t_\t_
3\tn't\tnot\tPART\t_\t_\t4\tadvmod\t_\t_
4\trow\trow\tVERB\t_\t_\t0\troot\t_\t_
4.1\trow\trow\tVERB\t_\t_\t_\t_\t_\t_

1\tnew york\tnew york\tPROPN\t_\t_\t0\troot\t_\t_
"""

CONLL2003 = """-DOCSTART- -X- -X- O

Wolves NNS B-NP B-ORG
won VBD B-VP O

Done VBN B-VP O"""


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_conllu(tmp_path: Path) -> None:
    sentences = list(read_tagged_sentences(write(tmp_path / "a.conllu", CONLLU), "conllu", 3))
    assert sentences == [(["We", "do", "n't", "row"], ["PRON", "AUX", "PART", "VERB"]), (["new york"], ["PROPN"])]


@pytest.mark.parametrize("column, tags", [(-1, ["B-ORG", "O"]), (1, ["NNS", "VBD"])])
def test_conll2003(tmp_path: Path, column: int, tags: list) -> None:
    first, second = read_tagged_sentences(
        write(tmp_path / "a.txt", CONLL2003.replace("\n", "\r\n")), "conll2003", column
    )
    assert first == (["Wolves", "won"], tags) and second.words == ["Done"]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    for content, file_format in (
        (CONLLU[CONLLU.index("1\tWe") :], "conllu"),
        (CONLLU, "conllu"),
        (CONLL2003, "conll2003"),
    ):
        plain = list(read_tagged_sentences(write(tmp_path / "a", content), file_format, -1))
        assert list(read_tagged_sentences(write(tmp_path / "b", "\ufeff" + content), file_format, -1)) == plain


def test_a_no_break_space_is_a_part_of_a_word(tmp_path: Path) -> None:
    conll = "10\u00a0000\tCD B-QTY\nkm  NN  O \n"
    assert list(read_tagged_sentences(write(tmp_path / "a", conll), "conll2003", 1)) == [
        (["10\u00a0000", "km"], ["CD", "NN"])
    ]
    conllu = CONLLU.replace("new york", "new\u00a0york")
    assert list(read_tagged_sentences(write(tmp_path / "a", conllu), "conllu", 3))[1].words == ["new\u00a0york"]


@pytest.mark.parametrize("start", ["-DOCSTART-", "-DOCSTART- -X- O O", "-DOCSTART-\tO\r"])
@pytest.mark.parametrize("blank", ["\n", ""])
def test_the_start_of_a_document_is_no_word_and_ends_a_sentence(tmp_path: Path, start: str, blank: str) -> None:
    conll = f"{start}\n{blank}EU B-ORG\n{blank}{start}\n{blank}New B-LOC\nYork I-LOC\n"
    assert list(read_tagged_sentences(write(tmp_path / "a", conll), "conll2003", -1)) == [
        (["EU"], ["B-ORG"]),
        (["New", "York"], ["B-LOC", "I-LOC"]),
    ]


def test_standard_input_and_compressed_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(read_tagged_sentences(write(tmp_path / "a", CONLLU), "conllu", 3))
    (tmp_path / "a.gz").write_bytes(gzip.compress(CONLLU.encode()))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(CONLLU.encode())))
    for path in (tmp_path / "a.gz", "-"):
        assert list(read_tagged_sentences(path, "conllu", 3)) == expected


def test_a_file_is_read_on_demand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_READ_BYTES", 16)
    lines = "EU B-ORG\n\n" * 3 + "\u00a0\n"
    sentences = read_tagged_sentences(write(tmp_path / "a", lines), "conll2003", -1)
    assert [next(sentences).words for _ in range(3)] == [["EU"]] * 3
    with pytest.raises(InputError, match="a, line 7: must have at least 2 columns, got 1$"):
        next(sentences)


@pytest.mark.parametrize("word_id", ["\u0661", " 2", "0", "1.", "-1", "1-", "x", ""])
def test_a_line_with_another_id_is_refused(tmp_path: Path, word_id: str) -> None:
    lines = CONLLU.replace("\n3\tn't", f"\n{word_id}\tn't")
    with pytest.raises(InputError) as error:
        list(read_tagged_sentences(write(tmp_path / "a.conllu", lines), "conllu", 3))
    assert str(error.value) == (
        f"{tmp_path}/a.conllu, line 6: the id, in the first column, must be a whole number, a range such as 3-4 or a decimal "
        f"such as 8.1, got {word_id!r}"
    )


@pytest.mark.parametrize(
    "content, file_format, column, message",
    [
        (b"1\tWe\twe\tPRON\n", "conllu", 3, "a.txt, line 1: must have at least 10 columns, got 4"),
        (b"1\t\t\t\t\t\t\t\t\t\n", "conllu", 50, "a.txt, line 1: must have at least 51 columns, got 10"),
        (b"\nWolves NNS\n", "conll2003", 3, "a.txt, line 2: must have at least 4 columns, got 2"),
        (b"Wolves NNS\n", "conll2003", -3, "a.txt, line 1: must have at least 3 columns, got 2"),
        (b"a b\n\xff c\n", "conll2003", 1, "a.txt, line 2: byte 0xff is not UTF-8"),
        (b"a\0 b\n", "conll2003", 1, "a.txt, line 1: NUL byte, so this is not UTF-8 text"),
        (b"a b\n\t CD O\n", "conll2003", 1, r"a.txt, line 2: the word must not be empty, got '\t CD O'"),
        (
            b"1\ta\t\t\t_\t_\t_\t_\t_\t_\n",
            "conllu",
            3,
            "line 1: the tag must not be empty, got '1\\ta" + r"\t" * 2 + r"\t_" * 6 + "'",
        ),
        (
            b"a b\rc d\n",
            "conll2003",
            1,
            r"line 1: a line must end with a line feed, got a carriage return within 'a b\rc d'",
        ),
        (b"\n\n", "conllu", 3, "a.txt: holds no sentence"),
        (b"a b\n", "conll", 1, "`file_format` must be one of conllu, conll2003, got 'conll'"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, file_format: str, column: int, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        list(read_tagged_sentences(path, file_format, column))
    assert str(error.value).endswith(message) and "\n" not in str(error.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere.conllu: cannot be read .No such file or directory.$"):
        list(read_tagged_sentences(tmp_path / "nowhere.conllu", "conllu", 3))
