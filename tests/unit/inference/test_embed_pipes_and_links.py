"""Vectors of texts that can be read only once, such as pipes, and output files that are symbolic links."""

import io
import os
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from allennlp_elmo_plus.cluster import embedding as sharded_embedding
from allennlp_elmo_plus.data.text import tokenized_file
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.inference.embed_file import EmbedSettings, embed_file
from allennlp_elmo_plus.storage import resumable_hdf5 as vector_file
from tests.unit.inference.embedding_runs import (
    TEXT,
    Interrupted,
    interrupt_after,
    no_progress,
    output_files,
    read_arrays,
)


@pytest.fixture(params=["-", "pipe", "named pipe"])
def read_once(request, tmp_path, monkeypatch):
    """Return a path from which the text can be read only once: standard input or a pipe."""
    if request.param == "named pipe":
        os.mkfifo(tmp_path / "text.txt")
        writer = threading.Thread(target=(tmp_path / "text.txt").write_text, args=(TEXT, "utf-8"))
        writer.start()
        yield tmp_path / "text.txt"
        writer.join()
        return
    reading, writing = os.pipe()
    os.write(writing, TEXT.encode("utf-8"))
    os.close(writing)
    with os.fdopen(reading) as file:
        monkeypatch.setattr(sys, "stdin", file)
        yield "-" if request.param == "-" else Path(f"/dev/fd/{reading}")


def test_a_text_that_can_be_read_only_once_has_the_vectors_of_the_file(embedder, tmp_path, tmp_path_factory, read_once):
    text = tmp_path_factory.mktemp("file") / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    settings = EmbedSettings()
    assert embed_file(embedder, read_once, tmp_path / "a.hdf5", settings, no_progress) == embed_file(
        embedder, text, tmp_path / "b.hdf5", settings, no_progress
    )
    from_pipe, from_file = read_arrays(tmp_path / "a.hdf5"), read_arrays(tmp_path / "b.hdf5")
    assert from_pipe.keys() == from_file.keys()
    assert all(np.array_equal(from_pipe[key], array) for key, array in from_file.items())
    assert output_files(tmp_path) == {"a.hdf5", "b.hdf5"}


def test_an_interrupted_run_over_a_pipe_can_be_resumed_with_the_file(embedder, text, tmp_path, monkeypatch):
    monkeypatch.setattr(vector_file, "_SECONDS_BETWEEN_RECORDS", 0.0)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode("utf-8"))))
    with pytest.raises(Interrupted):
        embed_file(embedder, "-", tmp_path / "vectors.hdf5", EmbedSettings(), interrupt_after(num_sentences=3))
    totals = []

    @contextmanager
    def progress(what, unit, total, done):
        totals.append((total, done))
        yield lambda steps: None

    embed_file(embedder, text, tmp_path / "vectors.hdf5", EmbedSettings(), progress)
    assert totals == [(22, 8)] and output_files(tmp_path) == {"vectors.hdf5"}


def test_a_full_disk_while_standard_input_is_copied_is_an_error_that_names_the_directory(
    embedder, tmp_path, monkeypatch
):
    class FileOnFullDisk(io.BytesIO):
        def write(self, data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode("utf-8"))))
    monkeypatch.setattr(tokenized_file.tempfile, "TemporaryFile", FileOnFullDisk)
    monkeypatch.setattr(tokenized_file.tempfile, "gettempdir", lambda: "/somewhere")
    with pytest.raises(
        InputError, match="^standard input: cannot be copied to `/somewhere`, .* TMPDIR names: No space"
    ):
        embed_file(embedder, "-", tmp_path / "vectors.hdf5", EmbedSettings(), no_progress)
    assert output_files(tmp_path) == set()


def test_a_byte_order_mark_is_ignored(embedder, text, tmp_path):
    embed_file(embedder, text, tmp_path / "a.hdf5", EmbedSettings(), no_progress)
    text.write_text("\ufeff" + TEXT, encoding="utf-8")
    embed_file(embedder, text, tmp_path / "b.hdf5", EmbedSettings(), no_progress)
    plain, marked = read_arrays(tmp_path / "a.hdf5"), read_arrays(tmp_path / "b.hdf5")
    assert plain.keys() == marked.keys() and all(np.array_equal(plain[key], marked[key]) for key in plain)


@pytest.mark.parametrize("output_format", ["hdf5", "npz"])
def test_a_symbolic_link_as_output_stays_and_its_target_is_written(embedder, text, tmp_path, output_format):
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / "vectors", tmp_path / "link"
    link.symlink_to("disk/vectors")
    embed_file(embedder, text, link, EmbedSettings(output_format=output_format), no_progress)
    assert link.is_symlink() and target.is_file() and output_files(tmp_path) == {"disk", "link"}
    assert os.listdir(tmp_path / "disk") == ["vectors"]
    with pytest.raises(InputError, match="cannot write `.*/link`: it is there already"):
        embed_file(embedder, text, link, EmbedSettings(), no_progress)


@pytest.mark.parametrize(
    "target, message",
    [
        ("absent/vectors", "there is no directory `.*/absent`"),
        ("link", "it is a symbolic link that leads back to itself"),
    ],
)
def test_a_symbolic_link_whose_target_cannot_be_written_is_refused(embedder, text, tmp_path, target, message):
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(InputError, match=f"^cannot write `{tmp_path}/link`: {message}$"):
        embed_file(embedder, text, tmp_path / "link", EmbedSettings(), no_progress)
    assert (tmp_path / "link").is_symlink() and output_files(tmp_path) == {"link"}


def test_a_repeated_shard_writes_to_the_target_of_a_link(embedder, text, tmp_path, monkeypatch):
    monkeypatch.setattr(sharded_embedding, "_embedder", lambda files: embedder)
    target, link = tmp_path / "disk", tmp_path / "text.txt.hdf5"
    target.write_bytes(b"left by a run that was killed before it could record this shard as finished")
    link.symlink_to(target)
    sharded_embedding._embed_shard((text, link), files=None, digest=embedder.digest(), settings=EmbedSettings())
    assert link.is_symlink() and "0" in read_arrays(target)
