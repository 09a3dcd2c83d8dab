from pathlib import Path

import pytest

from allennlp_elmo_plus.core.conll import read_tagged_sentences
from allennlp_elmo_plus.core.errors import InputError

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


@pytest.mark.parametrize(
    "content, file_format, column, message",
    [
        (b"1\tWe\twe\tPRON\n", "conllu", 3, "a.txt, line 1: must have at least 10 columns, got 4"),
        (b"1\t\t\t\t\t\t\t\t\t\n", "conllu", 50, "a.txt, line 1: must have at least 51 columns, got 10"),
        (b"\nWolves NNS\n", "conll2003", 3, "a.txt, line 2: must have at least 4 columns, got 2"),
        (b"Wolves NNS\n", "conll2003", -3, "a.txt, line 1: must have at least 3 columns, got 2"),
        (b"a b\n\xff c\n", "conll2003", 1, "a.txt, line 2: must be UTF-8, got the byte 0xff"),
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
    with pytest.raises(InputError, match="nowhere.conllu: cannot be read: No such file or directory$"):
        list(read_tagged_sentences(tmp_path / "nowhere.conllu", "conllu", 3))
