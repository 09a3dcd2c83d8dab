"""
Processes that start at once: copies of one that has imported what takes long and has trained once.

`python -m tests.helpers.fork_server` reads requests from standard input, one JSON object a line, and answers each with a line:

    {"call": "module:function", "arguments": [...]}    the id of a process that calls the function, and ends
    {"wait": process id, "seconds": number}            its exit status, negative for a signal; null where it goes on for longer

Each process is one of its own, in a session of its own, to be killed like any other.
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

ROOT = Path(__file__).resolve().parents[2]
# Only a test that fails waits as long.
PATIENCE_SECONDS = 300.0


class ForkServer:
    """A running server."""

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.fork_server"],
            cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip
        assert self._answer() == "ready"

    def call(self, function: Callable[..., None], *arguments: Any) -> int:
        """The id of a process that calls `function`, of a module, with `arguments`, which JSON can hold."""
        return self._ask(call=f"{function.__module__}:{function.__name__}", arguments=arguments)

    def wait(self, process: int, seconds: float = PATIENCE_SECONDS) -> int:
        """Its exit status, negative for a signal. Where it has not ended in `seconds`, it is made to say where it hangs."""
        status = self._ask(wait=process, seconds=seconds)
        if status is None:
            os.killpg(process, signal.SIGABRT)
            self._ask(wait=process, seconds=seconds)
            raise AssertionError(f"process {process} has not ended within {seconds} s")
        return int(status)

    def close(self) -> None:
        self._process.communicate()

    def _ask(self, **request: Any) -> Any:
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
    """Calls the function and gives the exit status that Python would end with."""
    os.setsid()
    # The one there is shared with all other copies: who is killed while it writes would keep it for ever.
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
    # What the end of Python does, but for freeing all that was imported, which here would first have to be copied.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status if isinstance(status, int) else 1


def _warm_up() -> None:
    """Imports AllenNLP where it is installed, and has the compiled loops loaded by training with them."""
    import pytest  # noqa: F401
    import torch
    import torch.nn.parallel  # noqa: F401

    # With one thread the package starts no others that would be missing from the copies.
    torch.set_num_threads(1)
    if find_spec("allennlp") is None:
        return
    from allennlp.commands.train import train_model
    from allennlp.common import Params

    import allennlp_elmo_plus.plugin  # noqa: F401
    from tests.helpers.small_text import small_config

    with tempfile.TemporaryDirectory() as directory:
        train_model(Params(small_config(Path(directory))), os.path.join(directory, "out"))
    # Copies need not look through, and so copy, what is here to stay.
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
