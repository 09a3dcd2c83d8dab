import gc
import gzip
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allennlp_elmo_plus.core import corpus_cache
from allennlp_elmo_plus.core.characters import encode_words, word_lengths
from allennlp_elmo_plus.core.corpus import encode_for_now, encode_text
from allennlp_elmo_plus.core.corpus_cache import open_or_encode
from allennlp_elmo_plus.core.errors import InputError
from allennlp_elmo_plus.core.text import iter_sentences

ROOT = Path(__file__).resolve().parents[2]

LINES = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\0"), max_size=30), min_size=1, max_size=12
).filter(lambda lines: any(line.split() for line in lines))


def sentences_of(corpus):
    words = corpus.type_words()
    return [
        [words[number] for number in corpus.tokens[begin:end]]
        for begin, end in zip(corpus.offsets, corpus.offsets[1:], strict=False)
    ]


def write(path, text="the hen sat\n\nthe egg\n"):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def text(tmp_path):
    return write(tmp_path / "text.txt")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def encodings():
    """How often a text is encoded."""
    with patch.object(corpus_cache, "encode_text", wraps=encode_text) as wrapped:
        yield wrapped


# Encoding


@given(lines=LINES)
@settings(max_examples=40, deadline=None)
def test_the_encoding_holds_the_text(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_bytes("\n".join(lines).encode("utf-8"))
    corpus = encode_for_now(path)
    sentences = list(iter_sentences(path))
    words = corpus.type_words()
    assert sentences_of(corpus) == sentences
    assert words[:2] == ["<S>", "</S>"] and len(set(words)) == len(words) == corpus.num_types
    assert corpus.num_sentences == len(sentences)
    assert corpus.num_tokens == sum(map(len, sentences))
    np.testing.assert_array_equal(corpus.type_characters, encode_words(words))
    np.testing.assert_array_equal(corpus.type_lengths, word_lengths(corpus.type_characters))
    assert corpus.type_counts.tolist() == [
        sum(map(sentence.count, [word])) for word in words for sentence in [sum(sentences, [])]
    ]


def test_real_text_of_several_blocks_is_encoded_whole(shared_data):
    path = shared_data / "wikitext-2" / "train.txt"
    corpus = encode_for_now(path)
    assert sentences_of(corpus) == list(iter_sentences(path))
    assert corpus.type_counts.sum() == corpus.num_tokens == 235845
    assert corpus.type_counts[:2].tolist() == [0, 0]
    np.testing.assert_array_equal(np.bincount(corpus.tokens, minlength=corpus.num_types), corpus.type_counts)


def test_types_come_in_the_order_of_the_text_with_the_boundaries_first(text):
    corpus = encode_for_now(text)
    assert corpus.type_words() == ["<S>", "</S>", "the", "hen", "sat", "egg"]
    assert corpus.tokens.tolist() == [2, 3, 4, 2, 5] and corpus.tokens.dtype == np.uint32
    assert corpus.offsets.tolist() == [0, 3, 3, 5] and corpus.offsets.dtype == np.int64


def test_boundaries_spelled_out_in_a_text_are_the_boundaries(tmp_path):
    corpus = encode_for_now(write(tmp_path / "text.txt", "</S> hen <S>\n"))
    assert corpus.tokens.tolist() == [1, 2, 0]


def test_more_types_than_were_counted_on(tmp_path):
    words = [f"w{number}" for number in range(70000)]
    corpus = encode_for_now(write(tmp_path / "text.txt", " ".join(words) + "\nw69999\n"))
    assert corpus.type_counts.tolist() == [0, 0, *[1] * 69999, 2]


def test_words_are_spelled_as_wide_as_asked(text):
    assert encode_for_now(text, max_characters=4).type_characters.shape == (6, 4)
    with pytest.raises(ValueError, match="`max_characters` must be at least 3, got 2"):
        encode_for_now(text, max_characters=2)


def test_the_share_of_cut_words_is_logged(tmp_path, caplog):
    path = write(tmp_path / "text.txt", "hen " * 7 + "x" * 49 + "\n")
    with caplog.at_level(logging.INFO):
        encode_for_now(path)
    assert "1 sentences, 8 words, 4 distinct" in caplog.text
    assert "12.500% of words are over 48 bytes" in caplog.text


def test_vocabulary_ids_are_those_of_the_types(text):
    corpus = encode_for_now(text)
    vocabulary = {"<S>": 1, "</S>": 2, "<UNK>": 3, "hen": 4, "the": 5}
    assert corpus.vocabulary_ids(vocabulary).tolist() == [1, 2, 5, 4, 3, 3]
    with pytest.raises(InputError, match="must hold <S>, </S> and <UNK>, but lacks </S>, <UNK>"):
        corpus.vocabulary_ids({"<S>": 1})


def test_a_temporary_encoding_goes_with_the_corpus(text):
    corpus = encode_for_now(text)
    directory = corpus.directory
    assert directory.is_dir()
    del corpus
    gc.collect()
    assert not directory.exists()


def test_a_failed_encoding_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "text").write_bytes(b"hen\n\xff\n")
    with pytest.raises(InputError, match="line 2: byte 0xff is not UTF-8"):
        encode_for_now(tmp_path / "text")
    assert os.listdir(tmp_path) == ["text"]
    corpus = encode_for_now(tmp_path / "text", "replace")
    assert corpus.type_words()[2:] == ["hen", "\N{REPLACEMENT CHARACTER}"]


# Keeping


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
    damage(open_or_encode(text, cache).directory)
    assert sentences_of(open_or_encode(text, cache)) == [["the", "hen", "sat"], [], ["the", "egg"]]
    assert encodings.call_count == 2


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


def test_what_a_killed_process_left_behind_is_not_used(text, cache):
    directory = open_or_encode(text, cache).directory
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
from allennlp_elmo_plus.core import corpus_cache

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
