import gzip
import os
import threading
from collections import Counter
from pathlib import Path

import pytest

from allennlp_elmo_plus.data.text import fasta
from allennlp_elmo_plus.data.text.text_files import iter_sentences
from allennlp_elmo_plus.data.text.tokenized_file import TokenizedFile
from allennlp_elmo_plus.data.text.word_counts import count_words
from allennlp_elmo_plus.errors import InputError

RECORDS = b"\xef\xbb\xbf>sp|P1|ONE  first protein\r\nMKTa\r\n  yiA \r\n\r\n>two/3-5\nGD*\n"
SENTENCES = [list("MKTAYIA"), list("GD*")]


def write(path: Path, data: bytes = RECORDS) -> Path:
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["a.fasta", "a.faa", "a.fna.gz", "a.fasta.gz", "A.FASTA"])
def test_each_character_of_a_sequence_is_a_word(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    assert list(iter_sentences(path)) == SENTENCES
    assert count_words(path) == Counter("MKTAYIAGD*")
    with TokenizedFile(path) as text:
        lines = list(text.lines())
        assert [line.words for line in lines] == SENTENCES
        # HDF5 cuts names at "/".
        assert [line.text for line in lines] == ["sp|P1|ONE", "two_3-5"]
        assert text.scan(as_keys=True)[:3] == (2, 10, 0)


def test_other_names_are_text(tmp_path: Path) -> None:
    path = write(tmp_path / "corpus.fa", b">one\nMKT\n")
    assert list(iter_sentences(path)) == [[">one"], ["MKT"]]


def test_a_sequence_is_read_with_its_whole_length(tmp_path: Path) -> None:
    lines = b"MKTAYIAKQR" * 6 + b"\n"
    path = write(tmp_path / "long.fasta", b">titin\n" + 600 * lines + b">next\nG\n")
    assert list(map(len, iter_sentences(path))) == [36_000, 1]
    longest = b"A" * fasta.MAX_RESIDUES
    assert list(map(len, iter_sentences(write(tmp_path / "longest.fasta", b">a\n" + longest)))) == [fasta.MAX_RESIDUES]


def test_the_progress_of_counting_is_that_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fasta", b">a\n" + 50_000 * b"MK\n")
    reports: list[int] = []
    count_words(path, report=reports.append)
    assert sum(reports) == os.path.getsize(path)


def test_a_pipe_is_a_text_without_identifiers(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.fasta"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(RECORDS,), daemon=True)
    writer.start()
    with TokenizedFile(pipe) as text:
        assert not text.has_identifiers
        for _ in range(2):
            assert [line.words for line in text.lines()] == SENTENCES
    writer.join()


@pytest.mark.parametrize(
    "data, message",
    [
        (b"MKT\n", "line 1: a FASTA file must begin with a header such as `>id`, got 'MKT'"),
        (b">\nMKT\n", "line 1: a header must have an identifier, got `>` alone"),
        (b">a\n>b\nMKT\n", "a sequence must not be empty, got none after `>a`"),
        (b">a\nMKT\n>b\n", "a sequence must not be empty, got none after `>b`"),
        (b">a\nMKT\nM1\n", "line 3: a sequence must have only letters, `\\*` and `-`, got 'M1'"),
        (b">a\n" + b"A" * (fasta.MAX_RESIDUES + 1), "line 2: a sequence must have at most 524,288 characters"),
        (b"\n", "there is not one word in this text"),
    ],
)
def test_what_is_no_fasta_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(iter_sentences(write(tmp_path / "a.fasta", data)))


def test_an_identifier_that_occurs_twice_is_no_key(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fasta", b">a/1\nM\n>a_1\nK\n")
    with pytest.raises(InputError, match="sequence 2: the identifier repeats an earlier one, so it cannot be a key"):
        with TokenizedFile(path) as text:
            text.scan(as_keys=True)
