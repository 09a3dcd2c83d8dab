"""
`allennlp` in a copy of the fork server, with a log of its own and, where a test wants it, file systems of its own.

A mount is {"path": directory, "memory": "size=64k"}, a file system in memory that only this process sees, with tmpfs's options, or
{"path": directory}, which makes the directory read-only for it. Where the system allows no such mounts, the status is CANNOT_MOUNT.
"""

import atexit
import ctypes
import os
import shutil
import sys
from typing import Any, Optional

import torch.multiprocessing
from allennlp.__main__ import run
from torch.multiprocessing import start_processes

import tests.faults.recorder  # noqa: F401
from allennlp_elmo_plus.plugin.patches import print_error_lines_of_commands

CANNOT_MOUNT = 77

_NEW_MOUNTS, _NEW_USER = 0x20000, 0x10000000
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 32, 4096, 16384, 1 << 18


def run_command(
    arguments: list[str],
    log: str,
    mounts: list[dict[str, str]],
    keep: Optional[tuple[str, str]] = None,
    starts_fresh: bool = False,
) -> None:
    """
    `allennlp` with `arguments`. `keep` names what is copied when it is over, and where to. With `starts_fresh` the processes of a
    distributed training are started as AllenNLP starts them; otherwise they are copies too.
    """
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.argv = ["allennlp", *arguments]
    if mounts:
        try:
            _mount(mounts)
        except OSError as error:
            print(error)
            os._exit(CANNOT_MOUNT)
    if keep:
        atexit.register(shutil.copytree, *keep)
    print_error_lines_of_commands()
    if not starts_fresh:
        torch.multiprocessing.start_processes = _start_copies
    run()


def _start_copies(*arguments: Any, start_method: str, **options: Any) -> Any:
    return start_processes(*arguments, start_method="fork", **options)


def _mount(mounts: list[dict[str, str]]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    def call(function: Any, *arguments: Any) -> None:
        if function(*arguments):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    user, group = os.getuid(), os.getgid()
    call(libc.unshare, _NEW_MOUNTS | _NEW_USER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    call(libc.mount, b"none", b"/", None, _RECURSIVE | _PRIVATE, None)
    for mount in mounts:
        path = os.fsencode(mount["path"])
        if "memory" in mount:
            call(libc.mount, b"tmpfs", path, b"tmpfs", 0, mount["memory"].encode())
        else:
            call(libc.mount, path, path, None, _BIND, None)
            call(libc.mount, path, path, None, _BIND | _REMOUNT | _READ_ONLY, None)
