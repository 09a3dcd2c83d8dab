"""The commands that share the files of a corpus among the workers of a Dask cluster: same result as in one process."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allennlp_elmo_plus.cluster.shards import ShardRunner
from allennlp_elmo_plus.data.corpus.encoded_corpus import ARRAY_TYPES, WORDS_FILE
from allennlp_elmo_plus.storage.run_lock import LOCK_FILE, RunLock
from tests.helpers.exported_bilm import read_vectors
from tests.helpers.small_text import SENTENCES, write_text

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def text(tmp_path: Path) -> Path:
    directory = tmp_path / "text"
    directory.mkdir()
    for number, part in enumerate((SENTENCES[:4], SENTENCES[4:7], SENTENCES[7:])):
        write_text(directory / f"{number}.txt", part)
    return directory


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list that receives the shards that workers compute."""
    begun: list[Any] = []
    original = ShardRunner.run

    def record(self: ShardRunner, function: Any, shards: Any) -> Any:
        begun.extend(shards)
        return original(self, function, shards)

    monkeypatch.setattr(ShardRunner, "run", record)
    return begun


def same(vectors: dict[str, Any], expected: dict[str, Any]) -> bool:
    return vectors.keys() == expected.keys() and all(np.array_equal(vectors[key], expected[key]) for key in vectors)


def test_a_vocabulary(text: Path, tmp_path: Path, address: str, run: Any) -> None:
    assert run("elmo-vocab", text, "--output", tmp_path / "one.txt", "--min-count", 2).status == 0
    ended = run("elmo-vocab", text, "--output", tmp_path / "shards.txt", "--min-count", 2, "--scheduler", address)
    assert ended.status == 0 and "100%" in ended.err
    assert (tmp_path / "shards.txt").read_bytes() == (tmp_path / "one.txt").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.txt", "shards.txt", "text"]


def test_an_interrupted_vocabulary_counts_the_remaining_files(
    text: Path, tmp_path: Path, address: str, run: Any
) -> None:
    good = (text / "1.txt").read_bytes()
    (text / "1.txt").write_bytes(good + b"\xff\n")
    command = ["elmo-vocab", text, "--output", tmp_path / "vocab.txt", "--scheduler", address]
    ended = run(*command)
    assert ended.status == 1 and "1.txt, line 4: byte 0xff is not UTF-8" in ended.err
    counts = tmp_path / "vocab.txt.shards"
    # Workers may have finished their current shards when the run ended, or not.
    for path in counts.iterdir():
        path.write_text("kept 1\n", encoding="utf-8")
    num_kept = len(list(counts.iterdir()))
    (text / "1.txt").write_bytes(good)
    assert run(*command).status == 0 and not counts.exists()
    assert ("kept" in (tmp_path / "vocab.txt").read_text("utf-8").split()) == (num_kept > 0)


def test_a_corpus(text: Path, tmp_path: Path, address: str, run: Any) -> None:
    one = run("elmo-encode", text, tmp_path / "one")
    ended = run("elmo-encode", text, tmp_path / "shards", "--scheduler", address)
    assert (
        one.status == ended.status == 0
        and one.out.replace(str(tmp_path / "one"), str(tmp_path / "shards")) == ended.out
    )
    (whole,), (sharded,) = (
        [path for path in (tmp_path / name).iterdir() if not path.name.startswith(".")] for name in ("one", "shards")
    )
    for name in (*ARRAY_TYPES, WORDS_FILE):
        assert (sharded / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_directory_in_which_another_run_writes_is_refused(
    text: Path, bilm: Path, tmp_path: Path, address: str, run: Any, begun: list[Any]
) -> None:
    (tmp_path / "vectors").mkdir()
    lock = RunLock(tmp_path / "vectors")
    ended = run("elmo", text, tmp_path / "vectors", "--all", "--model", bilm, "--scheduler", address)
    assert ended.status == 1 and "is in use by process" in ended.err and begun == []
    lock.check()


@pytest.mark.slow
def test_vectors(text: Path, bilm: Path, tmp_path: Path, address: str, run: Any, begun: list[Any]) -> None:
    options = ["--all", "--model", bilm, "--batch-size", 20]
    command = ["elmo", text, tmp_path / "vectors", *options, "--scheduler", address]
    ended = run(*command)
    assert ended.status == 0 and len(begun) == 3
    num_words = sum(map(len, SENTENCES))
    assert ended.out == f"wrote 3 files in {tmp_path / 'vectors'}: {num_words} words in {len(SENTENCES)} sentences\n"
    for number in range(3):
        run("elmo", text / f"{number}.txt", tmp_path / f"{number}.hdf5", *options)
        assert same(
            read_vectors(tmp_path / "vectors" / f"{number}.txt.hdf5"), read_vectors(tmp_path / f"{number}.hdf5")
        )

    begun.clear()
    assert run(*command).out == ended.out and begun == []

    # The files are complete, but the run was killed before it could list them.
    manifest = tmp_path / "vectors" / "shards.json"
    content = json.loads(manifest.read_text("utf-8"))
    content["shards"].clear()
    manifest.write_text(json.dumps(content), encoding="utf-8")
    assert run(*command).out == ended.out and len(begun) == 3
    begun.clear()
    (tmp_path / "vectors" / "1.txt.hdf5").unlink()
    assert run(*command).out == ended.out and [source.name for source, _ in begun] == ["1.txt"]
    assert same(read_vectors(tmp_path / "vectors" / "1.txt.hdf5"), read_vectors(tmp_path / "1.hdf5"))

    refused = run("elmo", text, tmp_path / "vectors", "--top", *options[1:], "--scheduler", address)
    assert refused.status == 1 and "holds shards of a run with another choice of layers" in refused.err
    write_text(text / "2.txt", SENTENCES[:2])
    refused = run(*command)
    assert refused.status == 1 and "2.txt.hdf5: holds the vectors of an earlier text" in refused.err


def test_vectors_are_not_written_over_files_of_others(
    text: Path, bilm: Path, tmp_path: Path, address: str, run: Any
) -> None:
    (tmp_path / "vectors").mkdir()
    (tmp_path / "vectors" / "2.txt.hdf5").write_text("mine", encoding="utf-8")
    ended = run("elmo", text, tmp_path / "vectors", "--top", "--model", bilm, "--scheduler", address)
    assert ended.status == 1 and "2.txt.hdf5" in ended.err
    assert sorted(path.name for path in (tmp_path / "vectors").iterdir()) == [LOCK_FILE, "2.txt.hdf5"]


def test_two_files_of_one_name_are_refused(text: Path, bilm: Path, tmp_path: Path, address: str, run: Any) -> None:
    (tmp_path / "more").mkdir()
    write_text(tmp_path / "more" / "1.txt", SENTENCES[:2])
    both = f"{text},{tmp_path / 'more'}"
    ended = run("elmo", both, tmp_path / "vectors", "--top", "--model", bilm, "--scheduler", address)
    assert ended.status == 1 and "two files have the name 1.txt" in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["elmo-encode", "text", "out", "--processes", 2],
        ["elmo-encode", "text", "out", "--processes", 2, "--scheduler", "tcp://node:1"],
        ["elmo", "text", "out", "--top", "--model", "m", "--processes", 2],
        ["elmo-vocab", "text", "--check", "vocab.txt", "--scheduler", "local"],
    ],
    ids=["no scheduler", "processes elsewhere", "embedding without scheduler", "check"],
)
def test_arguments_that_do_not_go_together(arguments: list[Any], run: Any) -> None:
    ended = run(*arguments)
    assert ended.status == 2 and "--scheduler" in ended.err


@pytest.mark.slow
def test_nobody_at_the_address(text: Path, tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allennlp_elmo_plus.cluster.shards._CONNECT_TIMEOUT_SECONDS", 1)
    ended = run("elmo-encode", text, tmp_path / "out", "--scheduler", "tcp://127.0.0.1:1")
    assert ended.status == 1 and "`scheduler` must be the address of a Dask scheduler" in ended.err
