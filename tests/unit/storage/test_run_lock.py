import gc
import os
import platform
import shutil

import pytest

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.storage.run_lock import LOCK_FILE, RunLock, hold


def test_a_process_has_one_lock_per_directory(tmp_path):
    first = hold(tmp_path)
    assert hold(str(tmp_path)) is first
    (tmp_path / "link").symlink_to(tmp_path)
    assert hold(tmp_path / "link") is first


def test_a_second_one_is_refused_and_names_the_first(tmp_path):
    first = hold(tmp_path)
    for _ in range(2):
        with pytest.raises(
            InputError,
            match=f"^`{tmp_path}` is in use by process {os.getpid()} on {platform.node()}: two runs cannot write",
        ):
            RunLock(tmp_path)
    first.check()


def test_a_shorter_name_replaces_all_of_a_longer_one(tmp_path):
    (tmp_path / LOCK_FILE).write_text("process 123456789 on a-machine-with-a-long-name" + "e" * 100)
    first = hold(tmp_path)
    assert (tmp_path / LOCK_FILE).read_text() == f"process {os.getpid()} on {platform.node()}"
    first.check()


def test_a_holder_that_has_not_written_its_name_yet_is_another_process(tmp_path):
    first = hold(tmp_path)
    (tmp_path / LOCK_FILE).write_bytes(b"")
    with pytest.raises(InputError, match=f"^`{tmp_path}` is in use by another process: two runs"):
        RunLock(tmp_path)
    first.check()


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    precious = tmp_path / "precious.txt"
    precious.write_text("precious")
    (tmp_path / LOCK_FILE).symlink_to(precious)
    with pytest.raises(
        InputError, match=f"^`{tmp_path / LOCK_FILE}` cannot be locked: Too many levels of symbolic links$"
    ):
        RunLock(tmp_path)
    assert precious.read_text() == "precious"


def test_the_lock_ends_with_its_last_reference(tmp_path):
    first = hold(tmp_path)
    second = hold(tmp_path)
    del first
    with pytest.raises(InputError, match="is in use"):
        RunLock(tmp_path)
    del second
    gc.collect()
    RunLock(tmp_path)


def test_the_file_descriptor_is_closed(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    first = hold(tmp_path)
    with pytest.raises(InputError):
        RunLock(tmp_path)
    del first
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("is_created_again", [False, True])
def test_a_directory_that_was_removed_is_noticed(tmp_path, is_created_again):
    directory = tmp_path / "run"
    directory.mkdir()
    first = hold(directory)
    assert first.is_current()
    shutil.rmtree(directory)
    if is_created_again:
        directory.mkdir()
        second = hold(directory)
        assert second is not first and second.is_current()
    with pytest.raises(InputError, match=f"^`{directory}` was removed or replaced while a run was writing to it"):
        first.check()
