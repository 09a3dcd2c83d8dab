"""The order in which a block of code syncs and renames files."""

import os
import stat
from typing import Any

import pytest


def record_disk_events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """
    Return a list that grows by ("fsync", inode, size in bytes or None for a directory) when a file is synced, and by
    ("replace", new name) when a file is renamed.
    """
    events: list[tuple[Any, ...]] = []
    fsync, replace, rename = os.fsync, os.replace, os.rename

    def record_fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        events.append(("fsync", status.st_ino, None if stat.S_ISDIR(status.st_mode) else status.st_size))
        fsync(descriptor)

    def record_replace(old: Any, new: Any) -> None:
        replace(old, new)
        events.append(("replace", os.fspath(new)))

    def record_rename(old: Any, new: Any) -> None:
        rename(old, new)
        events.append(("replace", os.fspath(new)))

    for name, function in (("fsync", record_fsync), ("replace", record_replace), ("rename", record_rename)):
        monkeypatch.setattr(os, name, function)
    return events
