"""
A server that starts processes fast: they are forks of a process that has imported AllenNLP and has trained once.

`python -m tests.helpers.runs.fork_server` reads one JSON object per line from standard input and answers each with one line:

    {"call": "module:function", "arguments": [...]}    the id of a new process, which calls the function and ends
    {"wait": process id, "seconds": number}            the exit status of the process, negative for a signal; null if it still runs

Each new process has a session of its own, so that a test can kill it.
"""

import atexit
import faulthandler
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Optional

from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[3]
# A test that passes never waits as long.
TIMEOUT_SECONDS = 300.0


class ForkServer:
    """The server and the two pipes to it."""

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.runs.fork_server"],
            cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip
        assert self._answer() == "ready"

    def call(self, function: Callable[..., None], *arguments: Any) -> int:
        """Start a process that calls the module-level `function` with `arguments`, which must fit JSON. Return its id."""
        return self._request(call=f"{function.__module__}:{function.__name__}", arguments=arguments)

    def wait(self, process: int, seconds: float = TIMEOUT_SECONDS) -> int:
        """
        Return the exit status of `process`, negative for a signal. If it still runs after `seconds`, SIGABRT makes it print its
        stacks, and AssertionError is raised.
        """
        status = self._request(wait=process, seconds=seconds)
        if status is None:
            os.killpg(process, signal.SIGABRT)
            self._request(wait=process, seconds=seconds)
            raise AssertionError(f"process {process} has not ended within {seconds} s")
        return int(status)

    def close(self) -> None:
        self._process.communicate()

    def _request(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise AssertionError(f"the fork server has ended: {self._errors.read()[-3000:]}")
        return json.loads(line)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _warm_up()
    _print(answers, "ready")
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _print(answers, _wait(**request))
            continue
        child = os.fork()
        if not child:
            os._exit(_call(**request))
        _print(answers, child)


def _call(call: str, arguments: list[Any]) -> int:
    """Call the function. Return the exit status that Python would end with."""
    os.setsid()
    # The inherited lock is shared by all forks: a process killed while it holds the lock would never release it.
    tqdm.set_lock(threading.RLock())
    faulthandler.enable()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    status: Any = 0
    try:
        module, function = call.split(":")
        getattr(importlib.import_module(module), function)(*arguments)
    except SystemExit as exit:
        status = exit.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        status = 1
    # The steps of Python's own exit, except that imported modules are not freed: freeing would copy their memory pages.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status if isinstance(status, int) else 1


def _warm_up() -> None:
    """Import AllenNLP where it is installed, and train once, which loads the compiled kernels."""
    import pytest  # noqa: F401
    import torch
    import torch.nn.parallel  # noqa: F401

    # A fork has only the thread that forked. With one thread, the package starts no others.
    torch.set_num_threads(1)
    if find_spec("allennlp") is None:
        return
    from allennlp.commands.train import train_model
    from allennlp.common import Params

    import allennlp_elmo_plus.plugin  # noqa: F401
    from tests.helpers.small_text import small_config

    with tempfile.TemporaryDirectory() as directory:
        config = small_config(Path(directory))
        # One of several servers compiles the kernels, and the others wait.
        config["trainer"]["callbacks"] = [{"type": "bilm_plan"}]
        train_model(Params(config), os.path.join(directory, "out"))
    # The garbage collector of a fork skips frozen objects, so their memory pages stay shared.
    gc.collect()
    gc.freeze()


def _wait(wait: int, seconds: float) -> Optional[int]:
    deadline = time.monotonic() + seconds
    while True:
        process, status = os.waitpid(wait, os.WNOHANG)
        if process:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return None
        time.sleep(0.005)


def _print(answers: Any, answer: Any) -> None:
    print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
