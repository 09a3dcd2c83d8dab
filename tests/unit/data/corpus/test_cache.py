import gzip
import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from allennlp_elmo_plus.data.corpus import cache as corpus_cache
from allennlp_elmo_plus.data.corpus import encoded_corpus as corpus
from allennlp_elmo_plus.data.corpus.cache import open_or_encode
from allennlp_elmo_plus.data.corpus.encoded_corpus import ARRAY_TYPES, encode_text
from allennlp_elmo_plus.data.text.text_files import iter_sentences
from allennlp_elmo_plus.errors import InputError
from tests.helpers.corpus_text import sentences_of, write
from tests.helpers.disk_events import record_disk_events

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def encodings():
    """How often a text is encoded."""
    with patch.object(corpus_cache, "encode_text", wraps=encode_text) as wrapped:
        yield wrapped


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
    # What is mapped stays readable when its files are replaced.
    assert before.tokens.tolist() == [2, 3, 4, 2, 5]
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1


def test_a_file_more_is_another_text(tmp_path, cache, encodings):
    texts = tmp_path / "texts"
    texts.mkdir()
    write(texts / "a.txt", "hen\n")
    assert open_or_encode(texts, cache).num_tokens == 1
    write(texts / "b.txt", "egg\n")
    assert open_or_encode(texts, cache).num_tokens == 2
    assert encodings.call_count == 2


def test_settings_and_specs_are_kept_apart(text, cache, encodings):
    for _ in range(2):
        assert open_or_encode(text, cache).type_characters.shape[1] == 50
        assert open_or_encode(text, cache, max_characters=10).type_characters.shape[1] == 10
        open_or_encode(text, cache, "replace")
        assert open_or_encode(f"{text},{text}", cache).num_tokens == 10
    assert encodings.call_count == 4


def test_compressed_text_is_kept_like_any_other(tmp_path, cache, encodings):
    path = tmp_path / "text.txt.gz"
    path.write_bytes(gzip.compress(b"hen egg\n"))
    assert [open_or_encode(path, cache).num_tokens for _ in range(2)] == [2, 2]
    assert encodings.call_count == 1


def writable(corpus):
    """The directory of `corpus`, whose files, read-only as they are written, may be damaged now."""
    for path in corpus.directory.iterdir():
        path.chmod(0o644)
    return corpus.directory


def damage_meta(directory):
    (directory / "meta.json").write_text("{")


def damage_by_cutting(directory):
    with open(directory / "tokens", "r+b") as file:
        file.truncate(8)


def damage_by_removing(directory):
    (directory / "words.txt").unlink()


def damage_by_an_older_format(directory):
    meta = json.loads((directory / "meta.json").read_text())
    (directory / "meta.json").write_text(json.dumps({**meta, "format": 0}))


@pytest.mark.parametrize(
    "damage", [damage_meta, damage_by_cutting, damage_by_removing, damage_by_an_older_format, shutil.rmtree]
)
def test_a_damaged_encoding_is_made_again(text, cache, encodings, damage):
    damage(writable(open_or_encode(text, cache)))
    assert sentences_of(open_or_encode(text, cache)) == [["the", "hen", "sat"], [], ["the", "egg"]]
    assert encodings.call_count == 2


def changed(name, change):
    """The damage that `change` does to the numbers of the file `name`."""

    def damage(directory):
        values = np.fromfile(directory / name, ARRAY_TYPES[name])
        np.asarray(change(values), ARRAY_TYPES[name]).tofile(directory / name)

    return damage


def with_value(place, value):
    def change(values):
        values[place] = value
        return values

    return change


def words(content):
    return lambda directory: (directory / "words.txt").write_bytes(content)


def a_link(directory):
    (directory / "tokens").rename(directory / "elsewhere")
    (directory / "tokens").symlink_to("elsewhere")


def a_pipe(directory):
    (directory / "tokens").unlink()
    os.mkfifo(directory / "tokens")


# The text: the hen sat / / the egg, as types 2 3 4 / / 2 5.
@pytest.mark.parametrize(
    "damage, message",
    [
        (changed("tokens", with_value(3, 6)), "`tokens` must be below the 6 types, got 6"),
        (changed("tokens", with_value(3, 2**32 - 1)), "`tokens` must be below the 6 types, got 4294967295"),
        (changed("tokens", with_value(3, 3)), "`type_counts` must be how often each type is among `tokens`"),
        (changed("tokens", lambda values: values[:-1]), "`type_counts` must be how often each type is among `tokens`"),
        (changed("type_counts", with_value(0, -1)), "`type_counts` must be how often each type is among `tokens`"),
        (changed("offsets", with_value(0, 1)), "`offsets` must go from 0 to the 5 tokens, got from 1 to 5"),
        (
            changed("offsets", with_value(-1, 2**40)),
            "`offsets` must go from 0 to the 5 tokens, got from 0 to 10995116277",
        ),
        (changed("offsets", with_value(1, -1)), "`offsets` must not fall"),
        (changed("offsets", with_value(1, 2**62)), "`offsets` must not fall"),
        (changed("type_characters", with_value(0, 0)), "`type_characters` and `type_lengths` must spell the words of"),
        (changed("type_characters", with_value(-1, 9)), "`type_characters` and `type_lengths` must spell the words of"),
        (changed("type_characters", lambda values: values[:-1]), "`type_characters` must hold whole rows of 100 bytes"),
        (changed("type_characters", lambda values: values[:-50]), "`type_characters` and `type_lengths` must spell"),
        (
            changed("type_characters", lambda values: np.append(values, values[-50:])),
            "`words.txt` must hold a line for each of the 7 types, got 6",
        ),
        (changed("type_lengths", with_value(1, 50)), "`type_characters` and `type_lengths` must spell the words of"),
        (words(b"<S>\n</S>\nthe\nhen\nsat\negg"), "`words.txt` must hold a line for each of the 6 types, got 6"),
        (words(b"<S>\n</S>\nthe\nhen\nsat\neggs\n"), "`type_characters` and `type_lengths` must spell the words of"),
        (words(b"<S>\n</S>\nthe\nhen\nsat\n\xff\n"), "words.txt, line 6: byte 0xff is not UTF-8"),
        (words(b"</S>\n<S>\nthe\nhen\nsat\negg\n"), "`words.txt` must begin with <S> and </S>"),
        (words(b""), "`words.txt` must be a file that is not empty"),
        (a_link, "`tokens` must be a file that is not empty"),
        (a_pipe, "`tokens` must be a file that is not empty"),
    ],
)
def test_an_encoding_whose_parts_do_not_belong_together_is_made_again(text, cache, encodings, caplog, damage, message):
    directory = writable(open_or_encode(text, cache))
    damage(directory)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        corpus = open_or_encode(text, cache)
    assert caplog.messages[0].startswith(f"the encoded text in {directory} is damaged and is made again: {message}")
    assert sentences_of(corpus) == [["the", "hen", "sat"], [], ["the", "egg"]]
    assert encodings.call_count == 2
    open_or_encode(text, cache)
    assert encodings.call_count == 2


@pytest.mark.parametrize(
    "meta", [b"[1]", b"[" * 10**5, b"\xff", b'{"format": 1}', b'{"format": 1, "sources": 3}', b"null"]
)
def test_a_hostile_description_is_none(text, cache, encodings, meta):
    (writable(open_or_encode(text, cache)) / "meta.json").write_bytes(meta)
    assert open_or_encode(text, cache).num_tokens == 5
    assert encodings.call_count == 2


def test_links_in_a_cache_that_others_write_to_are_not_followed(text, cache, tmp_path):
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


def test_an_encoding_that_fails_is_not_seen_and_does_not_cost_the_one_before(text, cache):
    kept = open_or_encode(text, cache).directory
    write(text, "another text\n")

    def fail_half_way(spec, directory, *_):
        (directory / "tokens").write_bytes(b"1234")
        raise OSError("no space left on the device")

    with patch.object(corpus_cache, "encode_text", fail_half_way), pytest.raises(OSError, match="no space left"):
        open_or_encode(text, cache)
    assert [path for path in cache.iterdir() if path.is_dir()] == [kept]
    assert sentences_of(open_or_encode(text, cache)) == [["another", "text"]]


def test_an_encoding_is_on_disk_before_its_name_and_then_the_directory(text, cache, monkeypatch):
    events = record_disk_events(monkeypatch)
    directory = open_or_encode(text, cache).directory
    files = {("fsync", path.stat().st_ino, path.stat().st_size) for path in directory.iterdir()}
    assert len(files) == len(ARRAY_TYPES) + 2 and set(events[: len(files)]) == files
    own, parent = (("fsync", path.stat().st_ino, None) for path in (directory, cache))
    assert events[len(files) :] == [own, ("replace", str(directory)), parent]


def test_what_a_killed_process_left_behind_is_not_used(text, cache):
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


# Before it is read, within the first block, between two, and within the last one.
@pytest.mark.parametrize("blocks_read", [0, 1, 4])
@pytest.mark.parametrize("size", [0, 1, 16_003, 50_000, None])
@pytest.mark.parametrize("suffix", ["txt", "txt.gz"])
def test_a_text_that_shrinks_or_vanishes_while_it_is_read_is_refused(
    tmp_path, cache, monkeypatch, blocks_read, size, suffix
):
    monkeypatch.setattr("allennlp_elmo_plus.data.text.text_files._READ_BYTES", 1 << 14)
    path = tmp_path / f"text.{suffix}"
    # Words that hardly compress
    content = b"".join(b"%d %d\n" % (n * 7919 % 10**7, n * n % 10**9) for n in range(7000))
    content = content if suffix == "txt" else gzip.compress(content, 1, mtime=0)
    path.write_bytes(content)
    blocks = corpus.iter_sentence_blocks

    def shrinking(*arguments):
        for number, block in enumerate(blocks(*arguments)):
            if number == blocks_read:
                path.unlink() if size is None else os.truncate(path, min(size, len(content) - 1))
            yield block

    with patch.object(corpus, "iter_sentence_blocks", shrinking), pytest.raises(InputError, match=f"^{path}[:,] "):
        open_or_encode(path, cache)
    assert [found for found in cache.iterdir() if found.is_dir()] == []
    path.write_bytes(content)
    assert open_or_encode(path, cache).num_sentences == 7000


def test_a_text_that_vanishes_before_it_is_read_is_refused(text, cache):
    with patch.object(corpus_cache, "_hash", lambda source: os.unlink(source)):
        with pytest.raises(InputError, match="text.txt`: there is no such file"):
            open_or_encode(text, cache)


def test_a_quota_costs_nothing_at_whatever_byte_it_ends_the_encoding(text, cache):
    kept = open_or_encode(text, cache).directory
    write(text, "another text of more words\n" * 50)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for quota in range(0, 1000, 100):
        resource.setrlimit(resource.RLIMIT_FSIZE, (quota, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                open_or_encode(text, cache)
            assert [path for path in cache.iterdir() if path.is_dir()] == [kept]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert open_or_encode(text, cache).num_sentences == 50


def test_files_that_are_mapped_are_not_written_to_by_accident(text, cache):
    directory = open_or_encode(text, cache).directory
    assert all(path.stat().st_mode & 0o777 == 0o444 for path in directory.iterdir())


def test_a_pipe_is_read_once_and_not_kept(tmp_path, cache):
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
