import os
from pathlib import Path

import pytest

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.storage.atomic_files import atomic_path, remove_unfinished
from tests.helpers.disk_events import record_disk_events


def names(directory: Path) -> list:
    return sorted(path.name for path in directory.iterdir())


def test_the_file_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "weights.hdf5"
    target.write_text("old")
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
        assert temporary.parent == tmp_path and temporary.suffix == ".hdf5" and temporary.name.startswith(".")
    assert target.read_text() == "new"
    assert names(tmp_path) == ["weights.hdf5"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "vocab.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="half way"):
        with atomic_path(target) as temporary:
            temporary.write_text("ne")
            raise RuntimeError("half way")
    assert target.read_text() == "old"
    assert names(tmp_path) == ["vocab.txt"]


def test_the_file_is_on_disk_before_its_name_and_then_the_directory(tmp_path, monkeypatch):
    """After a power failure at any moment, the name points to a complete file; after the block it is not lost."""
    target = tmp_path / "a.txt"
    events = record_disk_events(monkeypatch)
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        written = temporary.stat().st_ino
        assert events == []
    assert events == [("fsync", written, 3), ("replace", str(target)), ("fsync", tmp_path.stat().st_ino, None)]


def test_only_temporary_files_are_removed(tmp_path):
    for name in (".a.0123456789ab.tmp.th", "mine.tmp.th", ".a.0123456789ab.tmp.txt", ".hidden.th"):
        (tmp_path / name).touch()
    # Another process writes `b.th.zip`, or `b.c.th`.
    for name in (".b.th.0123456789ab.tmp.zip", ".b.c.0123456789ab.tmp.th"):
        (tmp_path / name).touch()
        remove_unfinished(tmp_path, ".th", stem="b")
        (tmp_path / name).unlink()
    remove_unfinished(tmp_path, ".th", stem="b")
    assert ".a.0123456789ab.tmp.th" in names(tmp_path)
    remove_unfinished(tmp_path, ".th")
    assert names(tmp_path) == [".a.0123456789ab.tmp.txt", ".hidden.th", "mine.tmp.th"]


def test_two_writers_at_once_do_not_disturb_each_other(tmp_path):
    with atomic_path(tmp_path / "a.txt") as first, atomic_path(tmp_path / "a.txt") as second:
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a.txt").read_text() == "first"
    assert names(tmp_path) == ["a.txt"]


def test_the_mode_is_that_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    with atomic_path(tmp_path / "written") as temporary:
        temporary.touch()
    assert os.stat(tmp_path / "written").st_mode == os.stat(tmp_path / "plain").st_mode


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    with atomic_path(tmp_path / "link.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


needs_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="the system has no /proc")


@pytest.mark.parametrize(
    "name, message",
    [
        ("absent/a.txt", "there is no directory `.*absent`"),
        ("folder", "is not a regular file"),
        ("pipe", "is not a regular file"),
        # Not even root can create a file there.
        pytest.param("../" * 20 + "proc/a.txt", "No such file or directory", marks=needs_proc),
    ],
)
def test_a_path_that_cannot_be_written_is_refused_first(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=f"^cannot write `.*{name}`: .*{message}"):
        with atomic_path(tmp_path / name):
            pytest.fail("the block must not run")
