"""The journal of a run that may be killed: which run it is, and how much of its output is on disk.

The journal holds one JSON object per line. Each line is flushed to disk before the next is written; an incomplete line and all
lines after it are ignored. The process that has the journal open holds a lock on it, so no other process can resume the run.
"""

import json
import os
from pathlib import Path
from typing import Any

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.storage.file_lock import FileInUseError, open_locked


class ProgressJournal:
    """The journal at `path`, opened and locked. The file is created if it is missing.

    Raises:
        InputError: Another process has the journal open, or the file cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open_locked(path)
        # Between the opening and the locking here, the previous process may have finished and removed the file.
        if os.fstat(self._file.fileno()).st_nlink == 0:
            self._file.close()
            raise FileInUseError(path, "")

    def read(self) -> list[dict[str, Any]]:
        """Return the complete lines, and delete all that follows them."""
        num_bytes = 0
        lines: list[dict[str, Any]] = []
        self._file.seek(0)
        for line in self._file.read().splitlines(keepends=True):
            try:
                content = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            lines.append(content)
            num_bytes += len(line)
        self._file.truncate(num_bytes)
        return lines

    def clear(self) -> None:
        """Delete all lines."""
        self._file.truncate(0)

    def add(self, content: dict[str, Any]) -> None:
        """Add the line `content`, and flush it to disk."""
        descriptor = self._file.fileno()
        os.lseek(descriptor, 0, os.SEEK_END)
        line = memoryview(json.dumps(content).encode("utf-8") + b"\n")
        while line:
            line = line[os.write(descriptor, line) :]
        os.fsync(descriptor)

    def remove(self) -> None:
        """Delete the file; the lock stays until `close`."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the lock, and delete the file if it is empty."""
        with self._file:
            if os.fstat(self._file.fileno()).st_size == 0:
                self.remove()


def check_same_run(begun: dict[str, Any], run: dict[str, Any], part: Path) -> None:
    """Check that a run described as `run` may resume the unfinished file `part` of a run described as `begun`.

    Raises:
        InputError: A value of `run` is another one in `begun`; the message names the first.
    """
    for name, value in run.items():
        if begun.get(name) != value:
            raise InputError(
                f"`{part}` was begun with another {name}, {begun.get(name)}, got {value}: "
                f"continue with the former, or remove the file and begin again"
            )
