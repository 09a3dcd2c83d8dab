"""Work over shards on a cluster of two processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from allennlp_elmo_plus.cluster.encoding import encode_shards
from allennlp_elmo_plus.cluster.shards import LOCAL, ShardRunner, open_cluster
from allennlp_elmo_plus.data.corpus.cache import open_or_encode
from allennlp_elmo_plus.data.corpus.encoded_corpus import ARRAY_TYPES, WORDS_FILE
from allennlp_elmo_plus.errors import InputError

pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def runner():
    with open_cluster(LOCAL, 2) as runner:
        yield runner


def killed_once(flag: Path) -> int:
    """The process that does it, which is not the one that was at it first."""
    try:
        flag.touch(exist_ok=False)
    except FileExistsError:
        return os.getpid()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_results_come_with_their_places(runner: ShardRunner) -> None:
    assert dict(runner.run(str.upper, ["a", "b", "a"])) == {0: "A", 1: "B", 2: "A"}


def test_a_killed_worker_costs_its_shard_only(runner: ShardRunner, tmp_path: Path) -> None:
    (tmp_path / "calm").touch()
    processes = dict(runner.run(killed_once, [tmp_path / "calm", tmp_path / "killed"]))
    assert processes.keys() == {0, 1} and os.getpid() not in processes.values()


def test_what_a_shard_raises_is_raised(runner: ShardRunner) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        dict(runner.run(int, ["1", "one"]))


def test_an_address_where_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allennlp_elmo_plus.cluster.shards._CONNECT_TIMEOUT_SECONDS", 1)
    with pytest.raises(
        InputError, match="`scheduler` must be the address of a Dask scheduler, got 'tcp://127.0.0.1:1'"
    ):
        with open_cluster("tcp://127.0.0.1:1"):
            pass


def shards_of_a_text(directory: Path) -> str:
    directory.mkdir()
    for number, text in enumerate(["the mill turns\nrain\n", "rain falls on the mill\n\n", "Fluß\n"]):
        (directory / f"{number}.txt").write_text(text, encoding="utf-8")
    return str(directory / "*.txt")


def test_shards_encode_as_one_process_does(runner: ShardRunner, tmp_path: Path) -> None:
    spec, reports = shards_of_a_text(tmp_path / "text"), []
    sharded = encode_shards(spec, tmp_path / "sharded", runner, reports.append)
    whole = open_or_encode(spec, tmp_path / "whole")
    for name in (*ARRAY_TYPES, WORDS_FILE):
        assert (sharded.directory / name).read_bytes() == (whole.directory / name).read_bytes(), name
    assert sum(reports) == sum(path.stat().st_size for path in (tmp_path / "text").iterdir())
    assert sorted(path.name for path in (tmp_path / "sharded").iterdir() if path.name[0] != ".") == [
        sharded.directory.name
    ]
    reports.clear()
    encode_shards(spec, tmp_path / "sharded", runner, reports.append)
    assert reports == []


def test_shards_that_are_done_are_not_encoded_again(runner: ShardRunner, tmp_path: Path) -> None:
    spec = shards_of_a_text(tmp_path / "text")
    damaged = tmp_path / "text" / "1.txt"
    good = damaged.read_bytes()
    damaged.write_bytes(b"\xff\n")
    with pytest.raises(InputError, match="1.txt, line 1: byte 0xff is not UTF-8"):
        encode_shards(spec, tmp_path / "cache", runner, [].append)
    done = {path.name: path.stat().st_ino for path in (tmp_path / "cache" / "shards").glob("*/tokens")}
    damaged.write_bytes(good)

    class Counting(ShardRunner):
        def run(self, function, shards):
            for place, directory in runner.run(function, shards):
                kept.append((directory / "tokens").stat().st_ino)
                yield place, directory

    kept: list[int] = []
    encode_shards(spec, tmp_path / "cache", Counting(None), [].append)
    assert set(done.values()) <= set(kept)


def test_dask_is_not_imported_with_the_package() -> None:
    modules = [f"allennlp_elmo_plus.cluster.{name}" for name in ("counts", "embedding", "encoding", "shards")]
    program = (
        f"import sys, {', '.join(modules)}; sys.exit(sum(name in sys.modules for name in ('dask', 'distributed')))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
