"""Lock files, with the package `filelock`, which knows the locks of Unix and of Windows."""

import os
from io import FileIO
from pathlib import Path

from filelock import lock_descriptor

from allennlp_elmo_plus.errors import InputError

# Windows has no such flag.
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_MAX_HOLDER_BYTES = 200


class FileInUseError(InputError):
    """Another process has locked the file. `holder` is the beginning of its content, where that process may write its name."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"`{path}`: another process is writing this file")
        self.holder = holder


def open_locked(path: Path, wait: bool = False) -> FileIO:
    """Return the file at `path`, opened unbuffered for reading and writing, with an exclusive lock until it is closed.

    The file is created if it is missing. The system ends the lock when the process ends, also by a kill. A symbolic link at
    `path` is not followed: another user may have put it there, so that a file elsewhere is overwritten.

    Args:
        path: The file to open and to lock.
        wait: Whether to wait until another holder of the lock ends it.

    Raises:
        FileInUseError: Another process, or another open file of this process, holds the lock, and `wait` is false.
        InputError: The file cannot be opened or locked.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _NO_FOLLOW, 0o666)
    except OSError as error:
        raise InputError(f"`{path}` cannot be locked: {error.strerror}") from None
    file = open(descriptor, "r+b", buffering=0)
    try:
        if not lock_descriptor(descriptor, blocking=wait):
            raise FileInUseError(path, _read_holder(file))
    except OSError as error:
        file.close()
        raise InputError(f"`{path}` cannot be locked: {error.strerror}") from None
    except BaseException:
        file.close()
        raise
    return file


def _read_holder(file: FileIO) -> str:
    try:
        return file.read(_MAX_HOLDER_BYTES).decode("utf-8", "replace")
    except OSError:  # On Windows a locked file cannot be read by other processes.
        return ""
