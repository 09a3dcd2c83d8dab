"""A run that is killed at any moment can be resumed, with the same file as result."""

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.storage import file_lock, npz, resumable_hdf5
from allennlp_elmo_plus.storage.npz import write_npz
from allennlp_elmo_plus.storage.progress_journal import ProgressJournal
from allennlp_elmo_plus.storage.resumable_hdf5 import Layout, ResumableHdf5Writer
from tests.helpers.disk_events import record_disk_events

RUN = {"text": "t", "biLM": "b"}
ARRAYS = {str(number): np.full((2, number % 4, 3), number, dtype=np.float32) for number in range(9)}
LAYOUT = Layout(lambda: [(key, array.shape) for key, array in ARRAYS.items()], lambda: {"sentences": '{"나비": "0"}'})


def write(path: Path, on_array: Callable[[str], object] = lambda key: None, as_npz: bool = False) -> None:
    """Write `ARRAYS` to `path`, or what an interrupted run has left to write; call `on_array` before each."""
    with ResumableHdf5Writer(path, RUN, LAYOUT, num_bytes=1000) as file:
        for key, array in list(ARRAYS.items())[file.written.num_arrays :]:
            on_array(key)
            file.write(key, array, array.shape[1])
        with file.finished(is_converted=as_npz) as hdf5_file:
            if as_npz:
                write_npz(hdf5_file, path)


def check(path: Path, as_npz: bool = False, alone: bool = True) -> None:
    """Check that the file is complete and, if `alone`, that its directory has no other file."""
    if as_npz:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
    else:
        with h5py.File(path) as file:
            arrays = {key: dataset[...] for key, dataset in file.items()}
            assert file["sentences"].asstr()[0] == '{"나비": "0"}'
    assert arrays.pop("sentences").shape == (1,)
    assert arrays.keys() == ARRAYS.keys()
    for key, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[key], array)
    assert not alone or os.listdir(path.parent) == [path.name]


@pytest.fixture(autouse=True)
def record_each_array(monkeypatch):
    monkeypatch.setattr(resumable_hdf5, "_SECONDS_BETWEEN_RECORDS", 0.0)


# The functions that change files on disk. A kill may come before each call.
CHANGES = [
    (os, "open"),
    (os, "write"),
    (os, "pwrite"),
    (os, "fsync"),
    (os, "replace"),
    (os, "ftruncate"),
    (h5py.h5d, "create"),
    (Path, "unlink"),
]


class Killed(BaseException):
    pass


def run_and_kill(step: int, monkeypatch: pytest.MonkeyPatch, job: Callable[[], None]) -> bool:
    """Run `job` without its changes from number `step` on, so that nothing is cleaned up. Return whether it was killed."""
    remaining = [step]

    def before(function: Callable) -> Callable:
        def wrapped(*args, **kwargs):
            if remaining[0] == 0:
                raise Killed
            remaining[0] -= 1
            return function(*args, **kwargs)

        return wrapped

    with monkeypatch.context() as patched:
        for owner, name in CHANGES:
            patched.setattr(owner, name, before(getattr(owner, name)))
        try:
            job()
        except Killed:
            return True
    return False


@pytest.mark.parametrize("as_npz", [False, True])
def test_a_run_killed_before_any_change_can_be_resumed(tmp_path, monkeypatch, as_npz):
    # A kill loses nothing that was written; only a power failure loses what was not flushed to disk.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    path = tmp_path / ("vectors.npz" if as_npz else "vectors.hdf5")
    step, killed, num_resumed = 0, True, 0
    while killed:
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        killed = run_and_kill(step, monkeypatch, lambda: write(path, as_npz=as_npz))
        if path.exists():
            check(path, as_npz, alone=not killed)
        else:
            computed: list[str] = []
            write(path, computed.append, as_npz)
            num_resumed += 0 < len(computed) < len(ARRAYS)
            check(path, as_npz)
        step += 1
    # After some kills, the recorded arrays were not computed again.
    assert step > 50 and num_resumed > 10


def test_a_run_killed_by_signals_at_random_times_ends(tmp_path):
    path = tmp_path / "vectors.hdf5"
    generator = random.Random(3)
    for _ in range(5):
        child = os.fork()
        if child == 0:
            write(path, lambda key: time.sleep(0.01))
            os._exit(0)
        time.sleep(generator.uniform(0.0, 0.06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if not path.exists():
        write(path)
    check(path)


def test_arrays_are_on_disk_before_they_are_recorded(tmp_path, monkeypatch):
    events: list[tuple[str, int]] = []

    def record(name: str) -> None:
        function = getattr(os, name)

        def recorded(descriptor, *arguments):
            events.append((name, descriptor))
            return function(descriptor, *arguments)

        monkeypatch.setattr(os, name, recorded)

    for name in ("pwrite", "write", "fsync"):
        record(name)
    with ResumableHdf5Writer(tmp_path / "vectors.hdf5", RUN, LAYOUT, num_bytes=1000) as file:
        events.clear()
        for key, array in ARRAYS.items():
            file.write(key, array, array.shape[1])
    data = next(descriptor for name, descriptor in events if name == "pwrite")
    journal = next(descriptor for name, descriptor in events if name == "write")
    # An array without words has no bytes.
    assert [event for event in events if event != ("pwrite", data)] == [
        ("fsync", data), ("write", journal), ("fsync", journal)
    ] * len(ARRAYS)  # fmt: skip
    assert all(
        following == ("fsync", data) for event, following in zip(events, events[1:]) if event == ("pwrite", data)
    )


def test_the_file_is_on_disk_before_it_is_renamed_and_the_journal_is_removed_last(tmp_path, monkeypatch):
    path, journal = tmp_path / "vectors.hdf5", tmp_path / "vectors.hdf5.part.journal"
    events = record_disk_events(monkeypatch)
    removed_after: list[int] = []
    remove = ProgressJournal.remove
    monkeypatch.setattr(ProgressJournal, "remove", lambda self: removed_after.append(len(events)) or remove(self))
    with ResumableHdf5Writer(path, RUN, LAYOUT, num_bytes=1000) as file:
        part, journal_file = (os.stat(written).st_ino for written in (file.part, journal))
        size, directory = os.stat(file.part).st_size, ("fsync", tmp_path.stat().st_ino, None)
        begun = [
            ("fsync", part, size),
            ("replace", str(file.part)),
            directory,
            ("fsync", journal_file, os.stat(journal).st_size),
        ]
        assert events == begun
        monkeypatch.setattr(resumable_hdf5, "_SECONDS_BETWEEN_RECORDS", 1e9)
        for key, array in ARRAYS.items():
            file.write(key, array, array.shape[1])
        assert events == begun
        with file.finished(is_converted=False):
            recorded = [*begun, ("fsync", part, size), ("fsync", journal_file, os.stat(journal).st_size)]
            assert events == recorded
    assert events == [*recorded, ("replace", str(path)), directory]
    assert removed_after == [len(events)]


@pytest.mark.parametrize("num_bytes", [1, 5, 30])
def test_a_truncated_record_is_ignored(tmp_path, num_bytes):
    path = tmp_path / "vectors.hdf5"

    def fail_at_6(key):
        if key == "6":
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write(path, fail_at_6)
    journal = tmp_path / "vectors.hdf5.part.journal"
    content = journal.read_bytes()
    journal.write_bytes(content[:-num_bytes])
    with pytest.raises(RuntimeError, match="stopped"):
        write(path, fail_at_6)
    # New lines follow the last complete line.
    assert all(json.loads(line) for line in journal.read_text().splitlines())
    write(path)
    check(path)


def test_a_second_process_is_refused_while_the_first_writes(tmp_path):
    path = tmp_path / "vectors.hdf5"
    with ResumableHdf5Writer(path, RUN, LAYOUT, num_bytes=1000):
        with pytest.raises(InputError, match="vectors.hdf5.part.journal`: another process is writing this file"):
            write(path)
    write(path)
    check(path)


def test_a_file_that_another_process_finished_before_the_lock_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "vectors.hdf5"

    def lock_late(descriptor, blocking):
        path.write_bytes(b"whole")
        return True

    monkeypatch.setattr(file_lock, "lock_descriptor", lock_late)
    with pytest.raises(InputError, match="it is there already"):
        write(path)
    assert path.read_bytes() == b"whole" and os.listdir(tmp_path) == ["vectors.hdf5"]


def test_a_disk_without_room_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match=r"it takes 1,000,000,000,000,000,000 bytes, and the disk has [\d,]+ free"):
        ResumableHdf5Writer(tmp_path / "vectors.hdf5", RUN, LAYOUT, num_bytes=10**18)
    assert os.listdir(tmp_path) == []


def test_a_disk_that_fills_up_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "vectors.hdf5"
    pwrite, remaining = os.pwrite, [4]

    def full(descriptor, data, offset):
        remaining[0] -= 1
        if remaining[0] < 0:
            raise OSError(28, "No space left on device")
        # Write half of the bytes, as the system may do; the caller must write the other half.
        return pwrite(descriptor, data[: max(1, len(data) // 2)], offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        write(path)
    assert not path.exists()
    remaining[0] = 10**6
    write(path)
    check(path)


@pytest.mark.parametrize("key, shape", [("1", (2, 5, 3)), ("absent", (2, 1, 3))])
def test_an_array_without_a_dataset_is_refused(tmp_path, key, shape):
    with ResumableHdf5Writer(tmp_path / "vectors.hdf5", RUN, LAYOUT, num_bytes=1000) as file:
        with pytest.raises(InputError, match="no dataset for an array of shape .*: the text has changed"):
            file.write(key, np.zeros(shape, dtype=np.float32), shape[1])


def test_an_npz_that_cannot_be_written_leaves_the_vectors(tmp_path, monkeypatch):
    path = tmp_path / "vectors.npz"

    @contextmanager
    def failing(target):
        raise OSError(28, "No space left on device")
        yield

    monkeypatch.setattr(npz, "atomic_path", failing)
    with pytest.raises(OSError, match="No space left"):
        write(path, as_npz=True)
    monkeypatch.undo()
    computed: list[str] = []
    write(path, computed.append, as_npz=True)
    assert computed == []
    check(path, as_npz=True)
