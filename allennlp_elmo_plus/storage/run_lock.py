"""One run at a time in a directory."""

import os
import weakref
from pathlib import Path
from typing import Union

from allennlp_elmo_plus.errors import InputError

LOCK_FILE = ".run.lock"


class RunLock:
    """The right to write to `directory`, for as long as this object lives. The system ends it with the process, however that ends.

    Use `hold`: a second `RunLock` of a directory is refused in the process of the first as in any other.

    Raises `InputError` where another process holds it, naming that process, and where the lock file cannot be opened: in a
    directory that is read-only, or where a symbolic link is in its place.
    """

    def __init__(self, directory: Path) -> None:
        # Unix only, and the rest of the package need not be
        import fcntl

        self._directory = directory
        self._path = directory / LOCK_FILE
        # A link is not followed: it would have a file somewhere else cut short.
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise InputError(f"`{self._path}` cannot be locked: {error.strerror}") from None
        weakref.finalize(self, os.close, self._descriptor)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 200, 0).decode("utf-8", "replace") or "another process"
            raise InputError(f"`{directory}` is in use by {holder}: two runs cannot write to one directory") from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"process {os.getpid()} on {os.uname().nodename}".encode(), 0)

    def is_current(self) -> bool:
        """Whether `directory` is still the one that was locked: it may have been removed, and made anew."""
        try:
            found = os.stat(self._path)
        except OSError:
            return False
        locked = os.fstat(self._descriptor)
        return (found.st_dev, found.st_ino) == (locked.st_dev, locked.st_ino)

    def check(self) -> None:
        """Raises `InputError` unless `is_current`."""
        if not self.is_current():
            raise InputError(f"`{self._directory}` was removed or replaced while a run was writing to it: the run ends")


_held: "weakref.WeakValueDictionary[str, RunLock]" = weakref.WeakValueDictionary()


def hold(directory: Union[str, "os.PathLike[str]"]) -> RunLock:
    """The lock of `directory`, which must exist: all in this process that hold it share one.

    Raises what `RunLock` raises.
    """
    path = os.path.realpath(directory)
    lock = _held.get(path)
    if lock is None or not lock.is_current():
        lock = _held[path] = RunLock(Path(path))
    return lock
