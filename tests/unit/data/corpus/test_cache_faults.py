"""A text that changes, a full disk, a killed process and links: the cache keeps its corpora, or encodes the text again."""

import gzip
import os
import resource
import shutil
from unittest.mock import patch

import pytest

from allennlp_elmo_plus.data.corpus import cache as corpus_cache
from allennlp_elmo_plus.data.corpus import encoded_corpus
from allennlp_elmo_plus.data.corpus.cache import open_or_encode
from allennlp_elmo_plus.data.corpus.encoded_corpus import ARRAY_TYPES, encode_text
from allennlp_elmo_plus.errors import InputError
from tests.helpers.corpus_text import sentences_of, writable, write
from tests.helpers.disk_events import record_disk_events


def test_links_in_the_cache_are_not_followed(text, cache, tmp_path):
    directory = open_or_encode(text, cache).directory
    precious = tmp_path / "precious"
    precious.mkdir()
    write(precious / "file", "precious")
    shutil.rmtree(directory)
    directory.symlink_to(precious)
    directory.with_name(f".{directory.name}.unfinished").symlink_to(precious)
    assert open_or_encode(text, cache).num_tokens == 5
    assert directory.is_dir() and not directory.is_symlink()
    lock = directory.with_name(f".{directory.name}.lock")
    lock.unlink()
    lock.symlink_to(precious / "file")
    with pytest.raises(InputError, match=r"\.lock` cannot be locked: Too many levels of symbolic links$"):
        open_or_encode(text, cache)
    assert [path.read_text() for path in precious.iterdir()] == ["precious"]


def test_a_failed_encoding_leaves_the_earlier_corpus(text, cache):
    earlier = open_or_encode(text, cache).directory
    write(text, "another text\n")

    def fail_half_way(spec, directory, *_):
        (directory / "tokens").write_bytes(b"1234")
        raise OSError("no space left on the device")

    with patch.object(corpus_cache, "encode_text", fail_half_way), pytest.raises(OSError, match="no space left"):
        open_or_encode(text, cache)
    assert [path for path in cache.iterdir() if path.is_dir()] == [earlier]
    assert sentences_of(open_or_encode(text, cache)) == [["another", "text"]]


def test_an_encoding_is_on_disk_before_its_name_and_then_the_directory(text, cache, monkeypatch):
    events = record_disk_events(monkeypatch)
    directory = open_or_encode(text, cache).directory
    files = {("fsync", path.stat().st_ino, path.stat().st_size) for path in directory.iterdir()}
    assert len(files) == len(ARRAY_TYPES) + 2 and set(events[: len(files)]) == files
    own, parent = (("fsync", path.stat().st_ino, None) for path in (directory, cache))
    assert events[len(files) :] == [own, ("replace", str(directory)), parent]


def test_the_unfinished_corpus_of_a_killed_process_is_not_used(text, cache):
    directory = writable(open_or_encode(text, cache))
    unfinished = directory.with_name(f".{directory.name}.unfinished")
    directory.rename(unfinished)
    (unfinished / "tokens").write_bytes(b"1234")
    assert open_or_encode(text, cache).num_tokens == 5
    assert not unfinished.exists()


def test_a_text_that_changes_while_it_is_read_is_refused(text, cache):
    def change(spec, directory, *arguments):
        encode_text(spec, directory, *arguments)
        write(text, "something else\n")

    with patch.object(corpus_cache, "encode_text", change):
        with pytest.raises(InputError, match="text.txt: the text changed while it was being read"):
            open_or_encode(text, cache)
    assert sentences_of(open_or_encode(text, cache)) == [["something", "else"]]


# Before the first block is read, after it, and before the last block.
@pytest.mark.parametrize("blocks_read", [0, 1, 4])
@pytest.mark.parametrize("size", [0, 1, 16_003, 50_000, None])
@pytest.mark.parametrize("suffix", ["txt", "txt.gz"])
def test_a_text_that_shrinks_or_vanishes_while_it_is_read_is_refused(
    tmp_path, cache, monkeypatch, blocks_read, size, suffix
):
    monkeypatch.setattr("allennlp_elmo_plus.data.text.text_files._READ_BYTES", 1 << 14)
    path = tmp_path / f"text.{suffix}"
    # Numbers, which hardly compress.
    content = b"".join(b"%d %d\n" % (n * 7919 % 10**7, n * n % 10**9) for n in range(7000))
    if suffix == "txt.gz":
        content = gzip.compress(content, 1, mtime=0)
    path.write_bytes(content)
    iter_sentence_blocks = encoded_corpus.iter_sentence_blocks

    def shrinking(*arguments):
        for number, block in enumerate(iter_sentence_blocks(*arguments)):
            if number == blocks_read:
                path.unlink() if size is None else os.truncate(path, min(size, len(content) - 1))
            yield block

    with (
        patch.object(encoded_corpus, "iter_sentence_blocks", shrinking),
        pytest.raises(InputError, match=f"^{path}[:,] "),
    ):
        open_or_encode(path, cache)
    assert not any(path.is_dir() for path in cache.iterdir())
    path.write_bytes(content)
    assert open_or_encode(path, cache).num_sentences == 7000


def test_a_text_that_vanishes_before_it_is_read_is_refused(text, cache):
    with patch.object(corpus_cache, "_hash", lambda source: os.unlink(source)):
        with pytest.raises(InputError, match="text.txt`: there is no such file"):
            open_or_encode(text, cache)


def test_a_quota_that_ends_the_encoding_leaves_the_earlier_corpus(text, cache):
    earlier = open_or_encode(text, cache).directory
    write(text, "another text of more words\n" * 50)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for quota in range(0, 1000, 100):
        resource.setrlimit(resource.RLIMIT_FSIZE, (quota, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                open_or_encode(text, cache)
            assert [path for path in cache.iterdir() if path.is_dir()] == [earlier]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert open_or_encode(text, cache).num_sentences == 50
