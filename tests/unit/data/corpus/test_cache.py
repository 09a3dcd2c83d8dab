"""Which encoded corpora are used again, and which texts are encoded."""

import gzip
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from allennlp_elmo_plus.data.corpus.cache import open_or_encode
from allennlp_elmo_plus.data.text.text_files import iter_sentences
from allennlp_elmo_plus.errors import InputError
from tests.helpers.corpus_text import sentences_of, writable, write

ROOT = Path(__file__).resolve().parents[4]


def test_an_unchanged_text_is_encoded_once(text, cache, encodings):
    first, second = open_or_encode(text, cache), open_or_encode(text, cache)
    assert encodings.call_count == 1
    assert sentences_of(first) == sentences_of(second) == [["the", "hen", "sat"], [], ["the", "egg"]]


def test_a_text_that_was_only_touched_is_not_encoded_again(text, cache, encodings):
    open_or_encode(text, cache)
    os.utime(text, ns=(5, 5))
    open_or_encode(text, cache)
    assert encodings.call_count == 1


@pytest.mark.parametrize("changed", ["the cat sat\n\nthe egg\n", "the hen sat\n\nthe eggs\n"])
def test_a_changed_text_is_encoded_again(text, cache, encodings, changed):
    before = open_or_encode(text, cache)
    write(text, changed)
    os.utime(text, ns=(5, 5))
    after = open_or_encode(text, cache)
    assert encodings.call_count == 2
    assert sentences_of(after) == list(iter_sentences(text))
    # A memory-mapped array stays readable when its file is replaced.
    assert before.tokens.tolist() == [2, 3, 4, 2, 5]
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1


def test_a_text_with_another_file_is_encoded_again(tmp_path, cache, encodings):
    texts = tmp_path / "texts"
    texts.mkdir()
    write(texts / "a.txt", "hen\n")
    assert open_or_encode(texts, cache).num_tokens == 1
    write(texts / "b.txt", "egg\n")
    assert open_or_encode(texts, cache).num_tokens == 2
    assert encodings.call_count == 2


def test_each_setting_and_spec_has_its_own_corpus(text, cache, encodings):
    for _ in range(2):
        assert open_or_encode(text, cache).type_characters.shape[1] == 50
        assert open_or_encode(text, cache, max_characters=10).type_characters.shape[1] == 10
        open_or_encode(text, cache, "replace")
        assert open_or_encode(f"{text},{text}", cache).num_tokens == 10
    assert encodings.call_count == 4


def test_compressed_text_is_cached_too(tmp_path, cache, encodings):
    path = tmp_path / "text.txt.gz"
    path.write_bytes(gzip.compress(b"hen egg\n"))
    assert [open_or_encode(path, cache).num_tokens for _ in range(2)] == [2, 2]
    assert encodings.call_count == 1


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda directory: (directory / "tokens").write_bytes(b"12345678"), "`tokens` must be below the 6 types"),
        (lambda directory: (directory / "words.txt").unlink(), "`words.txt` cannot be read: No such file or directory"),
        (lambda directory: (directory / "meta.json").write_text("{"), None),
        (shutil.rmtree, None),
    ],
)
def test_a_damaged_corpus_is_encoded_again(text, cache, encodings, caplog, damage, message):
    directory = writable(open_or_encode(text, cache))
    damage(directory)
    with caplog.at_level(logging.WARNING):
        assert sentences_of(open_or_encode(text, cache)) == [["the", "hen", "sat"], [], ["the", "egg"]]
    assert encodings.call_count == 2
    if message is not None:
        warning = f"the encoded text in {directory} is damaged and is made again: {message}"
        warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert [text.startswith(warning) for text in warnings] == [True]
    open_or_encode(text, cache)
    assert encodings.call_count == 2


def test_a_corpus_of_an_older_format_is_encoded_again(text, cache, encodings):
    path = writable(open_or_encode(text, cache)) / "meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 0}))
    assert open_or_encode(text, cache).num_tokens == 5
    assert encodings.call_count == 2


@pytest.mark.parametrize(
    "meta", [b"[1]", b"[" * 10**5, b"\xff", b'{"format": 1}', b'{"format": 1, "sources": 3}', b"null"]
)
def test_a_damaged_description_counts_as_missing(text, cache, encodings, meta):
    (writable(open_or_encode(text, cache)) / "meta.json").write_bytes(meta)
    assert open_or_encode(text, cache).num_tokens == 5
    assert encodings.call_count == 2


def test_files_that_are_mapped_are_read_only(text, cache):
    directory = open_or_encode(text, cache).directory
    assert all(path.stat().st_mode & 0o777 == 0o444 for path in directory.iterdir())


def test_a_pipe_is_read_once_and_not_cached(tmp_path, cache):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    thread = threading.Thread(target=pipe.write_text, args=("the hen\n",))
    thread.start()
    assert sentences_of(open_or_encode(pipe, cache)) == [["the", "hen"]]
    thread.join()
    assert not cache.exists()


def test_bad_arguments_are_refused_before_anything_is_written(text, cache):
    with pytest.raises(InputError, match="`encoding_errors` must be"):
        open_or_encode(text, cache, "ignore")
    with pytest.raises(InputError, match="there is no such file"):
        open_or_encode(text.with_name("absent"), cache)
    with pytest.raises(ValueError, match="`max_characters` must be at least 3, got 0"):
        open_or_encode(text, cache, max_characters=0)
    assert not cache.exists()


ENCODE_SLOWLY = """
import sys, time
from pathlib import Path
from unittest.mock import patch
from allennlp_elmo_plus.data.corpus import cache as corpus_cache

text, cache = map(Path, sys.argv[1:])
encode_text = corpus_cache.encode_text

def slowly(*arguments):
    print("encoded")
    time.sleep(0.3)
    encode_text(*arguments)

print("ready", flush=True)
sys.stdin.readline()
with patch.object(corpus_cache, "encode_text", slowly):
    print(corpus_cache.open_or_encode(text, cache).tokens.tolist())
"""


def test_of_two_processes_one_encodes_and_the_other_waits(text, cache):
    command = [sys.executable, "-c", ENCODE_SLOWLY, str(text), str(cache)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate()[0] for process in processes]
    tokens = "[2, 3, 4, 2, 5]\n"
    assert sorted(outputs) == [tokens, "encoded\n" + tokens]
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1


def test_a_corpus_stays_the_same_when_another_run_replaces_or_deletes_it(text, cache):
    corpus = open_or_encode(text, cache)
    before = corpus.digest(), corpus.type_words(), sentences_of(corpus)
    write(text, "egg the sat hen")
    other = open_or_encode(text, cache)
    assert other.directory == corpus.directory and other.digest() != before[0]
    assert (corpus.digest(), corpus.type_words(), sentences_of(corpus)) == before
    shutil.rmtree(cache)
    assert (corpus.digest(), corpus.type_words(), sentences_of(corpus)) == before


def test_a_text_with_a_long_name_is_cached(tmp_path, cache):
    text = write(tmp_path / f"{'語' * 83}.txt", "the mill")
    assert len(os.fsencode(text.name)) == 253
    assert sentences_of(open_or_encode(text, cache)) == [["the", "mill"]]
