"""Shards of a text, processed by a Dask cluster of two processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from allennlp_elmo_plus.cluster import embedding
from allennlp_elmo_plus.cluster.encoding import encode_shards
from allennlp_elmo_plus.cluster.shards import LOCAL, ShardRunner, open_cluster
from allennlp_elmo_plus.data.corpus.cache import open_or_encode
from allennlp_elmo_plus.data.corpus.encoded_corpus import ARRAY_TYPES, WORDS_FILE
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.inference.embed_file import EmbedSettings
from allennlp_elmo_plus.inference.embedder import ElmoEmbedder
from tests.helpers.saved_bilm import saved

pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def runner():
    with open_cluster(LOCAL, 2) as runner:
        yield runner


def die_unless_exists(path: Path) -> int:
    """Return the id of this process if the file `path` exists. Otherwise make the file and kill this process."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return os.getpid()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_results_come_with_the_index_of_their_shard(runner: ShardRunner) -> None:
    assert dict(runner.run(str.upper, ["a", "b", "a"])) == {0: "A", 1: "B", 2: "A"}


def test_the_shard_of_a_killed_worker_is_processed_again(runner: ShardRunner, tmp_path: Path) -> None:
    (tmp_path / "exists").touch()
    processes = dict(runner.run(die_unless_exists, [tmp_path / "exists", tmp_path / "missing"]))
    assert processes.keys() == {0, 1} and os.getpid() not in processes.values()


def test_an_error_in_a_shard_is_raised_in_the_caller(runner: ShardRunner) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        dict(runner.run(int, ["1", "one"]))


def test_a_scheduler_address_without_a_scheduler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allennlp_elmo_plus.cluster.shards._CONNECT_TIMEOUT_SECONDS", 1)
    with pytest.raises(
        InputError, match="`scheduler` must be the address of a Dask scheduler, got 'tcp://127.0.0.1:1'"
    ):
        with open_cluster("tcp://127.0.0.1:1"):
            pass


def write_shards(directory: Path) -> str:
    """Write three text files into `directory`. Return the pattern that matches them."""
    directory.mkdir()
    for number, text in enumerate(["the mill turns\nrain\n", "rain falls on the mill\n\n", "Fluß\n"]):
        (directory / f"{number}.txt").write_text(text, encoding="utf-8")
    return str(directory / "*.txt")


def test_a_text_encoded_in_shards_has_the_bytes_of_one_encoded_by_one_process(
    runner: ShardRunner, tmp_path: Path
) -> None:
    spec, reports = write_shards(tmp_path / "text"), []
    sharded = encode_shards(spec, tmp_path / "sharded", runner, reports.append)
    expected = open_or_encode(spec, tmp_path / "expected")
    for name in (*ARRAY_TYPES, WORDS_FILE):
        assert (sharded.directory / name).read_bytes() == (expected.directory / name).read_bytes(), name
    assert sum(reports) == sum(path.stat().st_size for path in (tmp_path / "text").iterdir())
    assert sorted(path.name for path in (tmp_path / "sharded").iterdir() if path.name[0] != ".") == [
        sharded.directory.name
    ]
    reports.clear()
    encode_shards(spec, tmp_path / "sharded", runner, reports.append)
    assert reports == []


def test_finished_shards_are_not_encoded_again(runner: ShardRunner, tmp_path: Path) -> None:
    spec = write_shards(tmp_path / "text")
    shard = tmp_path / "text" / "1.txt"
    content = shard.read_bytes()
    shard.write_bytes(b"\xff\n")
    with pytest.raises(InputError, match="1.txt, line 1: byte 0xff is not UTF-8"):
        encode_shards(spec, tmp_path / "cache", runner, [].append)
    finished_inodes = {path.stat().st_ino for path in (tmp_path / "cache" / "shards").glob("*/*/tokens")}
    shard.write_bytes(content)

    class RecordingRunner(ShardRunner):
        def run(self, function, shards):
            for index, directory in runner.run(function, shards):
                inodes.append((directory / "tokens").stat().st_ino)
                yield index, directory

    inodes: list[int] = []
    encode_shards(spec, tmp_path / "cache", RecordingRunner(None), [].append)
    assert finished_inodes and finished_inodes <= set(inodes)


@pytest.mark.slow
def test_dask_is_not_imported_with_the_package() -> None:
    modules = [f"allennlp_elmo_plus.cluster.{name}" for name in ("counts", "embedding", "encoding", "shards")]
    program = (
        f"import sys, {', '.join(modules)}; sys.exit(sum(name in sys.modules for name in ('dask', 'distributed')))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_a_worker_reads_a_bilm_again_that_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path)
    files = embedding.EmbedderFiles(str(tmp_path / "model.tar.gz"))
    (tmp_path / "text.txt").write_text("the mill\n", "utf-8")
    embedding._embedder.cache_clear()
    old = embedding._embedder(files)
    saved(tmp_path, scale=1.5)
    new = ElmoEmbedder.from_pretrained(files.path)
    assert new.digest() != old.digest()
    shard = tmp_path / "text.txt", tmp_path / "text.hdf5"
    embedding._embed_shard(shard, files=files, digest=new.digest(), settings=EmbedSettings())
    with h5py.File(shard[1]) as file:
        np.testing.assert_array_equal(file["0"][...], new.embed_sentence(["the", "mill"]))
    with pytest.raises(InputError, match="a worker reads another biLM from these files"):
        embedding._embed_shard(shard, files=files, digest="0", settings=EmbedSettings())


def test_a_file_of_the_user_is_not_replaced_when_the_text_gets_another_shard(tmp_path: Path) -> None:
    class InThisProcess(ShardRunner):
        def run(self, function, shards):
            yield from ((index, function(shard)) for index, shard in enumerate(shards))

    runner = InThisProcess(None)
    saved(tmp_path)
    files = embedding.EmbedderFiles(str(tmp_path / "model.tar.gz"))
    text, out = tmp_path / "text", tmp_path / "out"
    text.mkdir()
    (text / "a.txt").write_text("the mill\n", "utf-8")
    embedding.embed_shards(text, out, files, EmbedSettings(), runner, [].append)
    (text / "b.txt").write_text("the river\n", "utf-8")
    (out / "b.txt.hdf5").write_text("mine")
    with pytest.raises(InputError, match="b.txt.hdf5`: it is there already"):
        embedding.embed_shards(text, out, files, EmbedSettings(), runner, [].append)
    (out / "b.txt.hdf5").unlink()
    assert embedding.embed_shards(text, out, files, EmbedSettings(), runner, [].append)[:2] == (2, 2)
