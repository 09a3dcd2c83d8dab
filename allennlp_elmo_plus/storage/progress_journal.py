"""The journal of a run that can be killed: which run it is, and how far it has come for sure.

A line of JSON each, added one at a time and synced; a line cut short, and what comes after it, counts for nothing. While a process
has the journal open it holds a lock on it, so that no other takes the run up beside it.
"""

import errno
import fcntl
import json
import os
from pathlib import Path
from typing import Any, NamedTuple, Optional

from allennlp_elmo_plus.errors import InputError


class Progress(NamedTuple):
    """How far a run is."""

    num_arrays: int
    num_words: int


class JournalContent(NamedTuple):
    run: dict[str, Any]
    written: Progress


class ProgressJournal:
    """Opens or makes the journal at `path`. Raises InputError where another process has it open, or it cannot be made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise InputError(f"cannot write `{path}`: {error.strerror}") from None
        taken = InputError(f"`{path}`: another process is writing this file")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise (taken if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else error) from None
        # The process that had it may have finished, and removed it, after it was opened here.
        if os.fstat(self._file).st_nlink == 0:
            os.close(self._file)
            raise taken

    def read(self) -> Optional[JournalContent]:
        """What it says, or None where not even the run is there whole. Cuts off what comes after the last whole line."""
        num_bytes = 0
        lines: list[dict[str, Any]] = []
        for line in os.pread(self._file, os.fstat(self._file).st_size, 0).splitlines(keepends=True):
            try:
                content = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            lines.append(content)
            num_bytes += len(line)
        os.ftruncate(self._file, num_bytes)
        if not lines:
            return None
        return JournalContent(lines[0], Progress(**lines[-1]) if len(lines) > 1 else Progress(0, 0))

    def clear(self) -> None:
        os.ftruncate(self._file, 0)

    def begin(self, run: dict[str, Any]) -> None:
        """The first line."""
        self._add_line(run)

    def add(self, written: Progress) -> None:
        """What is on disk by now."""
        self._add_line(written._asdict())

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Gives the lock back. A journal with no line in it is removed."""
        try:
            if os.fstat(self._file).st_size == 0:
                self.remove()
        finally:
            os.close(self._file)

    def _add_line(self, content: dict[str, Any]) -> None:
        line = memoryview(json.dumps(content).encode("utf-8") + b"\n")
        while line:
            line = line[os.write(self._file, line) :]
        os.fsync(self._file)


def check_same_run(found: dict[str, Any], run: dict[str, Any], part: Path) -> None:
    """Raises InputError, naming the first difference, where the run that `part` was begun for is not `run`."""
    for name, value in run.items():
        if found.get(name) != value:
            raise InputError(
                f"`{part}` was begun with another {name}, {found.get(name)}, got {value}: "
                f"go on with that, or remove it and begin anew"
            )
