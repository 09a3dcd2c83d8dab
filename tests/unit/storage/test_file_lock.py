import threading
from pathlib import Path

import pytest

import allennlp_elmo_plus
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.storage import file_lock
from allennlp_elmo_plus.storage.file_lock import FileInUseError, open_locked


def test_a_second_holder_is_refused_and_told_what_the_first_one_wrote(tmp_path):
    path = tmp_path / "lock"
    with open_locked(path) as file:
        file.write(b"the first")
        with pytest.raises(FileInUseError, match=f"^`{path}`: another process is writing this file$") as raised:
            open_locked(path)
        assert raised.value.holder == "the first"
    open_locked(path).close()
    assert path.read_bytes() == b"the first"


def test_a_second_holder_that_waits_gets_the_lock_when_the_first_one_closes(tmp_path, monkeypatch):
    waiting = threading.Event()
    lock = file_lock.lock_descriptor

    def lock_and_tell(descriptor, blocking):
        waiting.set()
        return lock(descriptor, blocking=blocking, poll_interval=0.001)

    first = open_locked(tmp_path / "lock")
    monkeypatch.setattr(file_lock, "lock_descriptor", lock_and_tell)
    was_closed: list[bool] = []

    def wait():
        with open_locked(tmp_path / "lock", wait=True):
            was_closed.append(first.closed)

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(60)
    first.close()
    thread.join(60)
    assert was_closed == [True]


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(InputError, match=f"^`{tmp_path / 'absent' / 'lock'}` cannot be locked: No such file"):
        open_locked(tmp_path / "absent" / "lock")


def test_no_module_imports_the_locks_of_unix():
    modules = Path(allennlp_elmo_plus.__file__).parent.rglob("*.py")
    assert [path for path in modules if "fcntl" in path.read_text(encoding="utf-8")] == []
