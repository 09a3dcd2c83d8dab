"""The journal of a run that may be killed: which run it is, and how much of its output is certainly on disk.

The journal holds one JSON object per line. Each line is added and synced on its own; an incomplete line and all that follows it are
ignored. The process that has the journal open holds a lock on it, so that no other process resumes the run at the same time.
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple, Optional

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.storage.file_lock import FileInUseError, open_locked


class Progress(NamedTuple):
    """The number of arrays that are on disk, and of the words in them."""

    num_arrays: int
    num_words: int


class JournalContent(NamedTuple):
    """The description of the run, which is the first line, and the progress in the last line."""

    run: dict[str, Any]
    written: Progress


class ProgressJournal:
    """The journal at `path`, opened and locked, and created where it is missing.

    Raises:
        InputError: Where another process has the journal open, or it cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open_locked(path)
        # Its last holder may have finished and removed it, after it was opened here and before it was locked.
        if os.fstat(self._file.fileno()).st_nlink == 0:
            self._file.close()
            raise FileInUseError(path, "")

    def read(self) -> Optional[JournalContent]:
        """Return the journal's content, or None without a complete first line. Whatever follows the last whole line is cut off."""
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
        if not lines:
            return None
        return JournalContent(lines[0], Progress(**lines[-1]) if len(lines) > 1 else Progress(0, 0))

    def clear(self) -> None:
        """Delete all lines."""
        self._file.truncate(0)

    def begin(self, run: dict[str, Any]) -> None:
        """Write `run`, the description of the run, as the first line."""
        self._add_line(run)

    def add(self, written: Progress) -> None:
        """Add a line that says what is on disk by now."""
        self._add_line(written._asdict())

    def remove(self) -> None:
        """Delete the journal's file; the lock stays until `close`."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the lock, and delete a journal without any line."""
        with self._file:
            if os.fstat(self._file.fileno()).st_size == 0:
                self.remove()

    def _add_line(self, content: dict[str, Any]) -> None:
        descriptor = self._file.fileno()
        os.lseek(descriptor, 0, os.SEEK_END)
        line = memoryview(json.dumps(content).encode("utf-8") + b"\n")
        while line:
            line = line[os.write(descriptor, line) :]
        os.fsync(descriptor)


def check_same_run(begun: dict[str, Any], run: dict[str, Any], part: Path) -> None:
    """Check that the unfinished file `part` was begun by the run described as `begun`, for the same output as `run`.

    Raises:
        InputError: For the first value that differs.
    """
    for name, value in run.items():
        if begun.get(name) != value:
            raise InputError(
                f"`{part}` was begun with another {name}, {begun.get(name)}, got {value}: "
                f"continue with the former, or remove the file and begin again"
            )
