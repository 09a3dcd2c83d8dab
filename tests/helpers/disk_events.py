"""The order in which a block of code syncs and renames files."""

import os
import stat
from typing import Any

import pytest


def record_disk_events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """
    Return a list that grows by ("fsync", inode, size in bytes or None for a directory) whenever a file is synced, and by
    ("replace", new name) whenever one is renamed.
    """
    events: list[tuple[Any, ...]] = []
    fsync, replace, rename = os.fsync, os.replace, os.rename

    def note_fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        events.append(("fsync", status.st_ino, None if stat.S_ISDIR(status.st_mode) else status.st_size))
        fsync(descriptor)

    def note_replace(old: Any, new: Any) -> None:
        replace(old, new)
        events.append(("replace", os.fspath(new)))

    def note_rename(old: Any, new: Any) -> None:
        rename(old, new)
        events.append(("replace", os.fspath(new)))

    for name, noted in (("fsync", note_fsync), ("replace", note_replace), ("rename", note_rename)):
        monkeypatch.setattr(os, name, noted)
    return events
