"""
`python -m tests.faults.fork_server`: runs `allennlp` in copies of itself. Each is a process of its own, to be killed like any
other, that does not take the seconds a fresh one needs to import AllenNLP and to load the compiled loops.

Reads requests from standard input, one JSON object a line, and answers each with a line:

    {"start": [arguments], "log": file, "mounts": [mount, ...], "keep": [from, to]}    process id
    {"wait": process id}                                                               exit status, negative for a signal

A mount is {"path": directory, "memory": "size=64k"}, a file system in memory that only this process sees, with tmpfs's options, or
{"path": directory}, which makes the directory read-only for it. `keep` names what is copied when the command is over, and where to.
Where the system allows no such mounts, the status is CANNOT_MOUNT.
"""

import atexit
import ctypes
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

CANNOT_MOUNT = 77

_NEW_MOUNTS, _NEW_USER = 0x20000, 0x10000000
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 32, 4096, 16384, 1 << 18


def main() -> None:
    import torch
    from allennlp.__main__ import run
    from allennlp.commands.train import train_model
    from allennlp.common import Params

    import allennlp_elmo_plus.plugin  # noqa: F401
    import tests.faults.recorder  # noqa: F401
    from tests.plugin.small_text import small_config

    # With one thread the package starts no others that would be missing from the copies.
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        train_model(Params(small_config(Path(directory))), os.path.join(directory, "out"))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            print(os.waitstatus_to_exitcode(status), file=answers, flush=True)
            continue
        child = os.fork()
        if not child:
            _become(request)
            return run()
        print(child, file=answers, flush=True)


def _become(request: dict[str, Any]) -> None:
    """Gives this process, a copy of the server, what a process of its own has."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = ["allennlp", *request["start"]]
    if request["mounts"]:
        try:
            _mount(request["mounts"])
        except OSError as error:
            print(error)
            os._exit(CANNOT_MOUNT)
    if request["keep"]:
        atexit.register(shutil.copytree, *request["keep"])


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


if __name__ == "__main__":
    main()
