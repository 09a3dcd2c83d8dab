"""One run at a time in a directory."""

import os
import platform
import weakref
from pathlib import Path
from typing import Union

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.storage.file_lock import FileInUseError, open_locked

LOCK_FILE = ".run.lock"


class RunLock:
    """The right to write to `directory`. It ends with this object or with the process.

    Call `hold` to get one: a second `RunLock` of a directory is refused, also in the same process.

    Raises:
        InputError: Another run holds the lock; the message names its process and machine. Or the lock file cannot be opened,
            because the directory is read-only or because the file is a symbolic link.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / LOCK_FILE
        try:
            self._file = open_locked(self._path)
        except FileInUseError as error:
            holder = error.holder or "another process"
            raise InputError(f"`{directory}` is in use by {holder}: two runs cannot write to one directory") from None
        weakref.finalize(self, self._file.close)
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {platform.node()}".encode())

    def is_current(self) -> bool:
        """Return whether the locked directory is still at its path; it may have been removed and created again."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._file.fileno()))
        except OSError:
            return False

    def check(self) -> None:
        """Check that the directory is the one that was locked.

        Raises:
            InputError: Unless `is_current`.
        """
        if not self.is_current():
            raise InputError(f"`{self._directory}` was removed or replaced while a run was writing to it: the run ends")


_locks: "weakref.WeakValueDictionary[str, RunLock]" = weakref.WeakValueDictionary()


def hold(directory: Union[str, "os.PathLike[str]"]) -> RunLock:
    """Return the lock of `directory`, which must exist.

    All callers in this process share one lock, which lasts as long as one of them keeps a reference to it.

    Raises:
        InputError: See `RunLock`.
    """
    path = os.path.realpath(directory)
    lock = _locks.get(path)
    if lock is None or not lock.is_current():
        lock = _locks[path] = RunLock(Path(path))
    return lock
