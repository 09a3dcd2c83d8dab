"""
`allennlp` in a fork of the fork server, with its own log and, if a test needs them, its own mounts.

Only this process sees a mount. {"path": directory, "memory": "size=64k"} is a file system in memory with these options of tmpfs;
{"path": directory} makes the directory read-only. If the system does not allow mounts, the exit status is CANNOT_MOUNT.
"""

import atexit
import ctypes
import functools
import os
import shutil
import signal
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
    copy_at_exit: Optional[tuple[str, str]] = None,
    new_processes: bool = False,
) -> None:
    """
    Run `allennlp` with `arguments`; the output goes to the file `log`.

    Args:
        copy_at_exit: Two directories: the first is copied to the second when the command ends.
        new_processes: Start the processes of a distributed training as AllenNLP does. By default they are forks of this process.
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
    if copy_at_exit:
        atexit.register(shutil.copytree, *copy_at_exit)
    print_error_lines_of_commands()
    if not new_processes:
        torch.multiprocessing.start_processes = _fork_processes
    run()


def _fork_processes(function: Any, *arguments: Any, start_method: str, **options: Any) -> Any:
    return start_processes(functools.partial(_without_handler, function), *arguments, start_method="fork", **options)


def _without_handler(function: Any, *arguments: Any) -> None:
    # A new process has no handler of SIGTERM, but a fork has AllenNLP's, which raises an error wherever the process is, in the
    # middle of a log line too. torch sends SIGTERM to the other processes when one fails.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    function(*arguments)


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
