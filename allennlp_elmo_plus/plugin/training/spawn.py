"""The start of the processes of a distributed training, with signals passed on and errors of a user's input raised as such."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.multiprocessing
from allennlp.common import Params
from torch.multiprocessing import ProcessExitedException
from torch.multiprocessing.spawn import ProcessException

from allennlp_elmo_plus.commands.shared.error_lines import error_line
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.training.stop_signals import REQUEST, StopSignals

_NOTICE = "it is passed on to the processes of the training, for which this one waits; a second signal ends it at once"
# A process that a signal has stopped exits with 128 and the signal's number.
_STOPPED = 128


def spawn(function: Callable[..., Any], args: tuple[Any, ...], nprocs: int) -> None:
    """Run `function(rank, *args)` in `nprocs` processes and wait for them, as `torch.multiprocessing.spawn` does.

    For a training with the callback "bilm", whose processes stop at a signal with a checkpoint, a signal to this process is passed
    on to all of them. The first of `args` is the config of the training.

    Raises:
        InputError: where a user's input causes the error of a process.
        ProcessException: for any other error of a process.
        SystemExit: with 128 and the signal's number, where a signal has stopped the processes.
    """
    passes_signals_on = REQUEST is not None and _has_callback(args[0])
    start = _spawn_and_pass_on if passes_signals_on else torch.multiprocessing.spawn
    with tempfile.TemporaryDirectory() as directory:
        try:
            start(run_and_report, args=(function, directory, *args), nprocs=nprocs)
        except ProcessException as error:
            # The process that ended first may have ended because of another one's error.
            first = Path(directory, str(error.error_index))
            reports = [path for path in (first, *sorted(Path(directory).iterdir())) if path.exists()]
            if not reports:
                raise
            raise InputError(reports[0].read_text("utf-8")) from error


def run_and_report(rank: int, function: Callable[..., Any], directory: str, *args: Any) -> Any:
    """Return `function(rank, *args)`; an error with an `error_line` leaves that line in the file `rank` of `directory`."""
    try:
        return function(rank, *args)
    except Exception as error:
        line = error_line(error)
        if line is not None:
            Path(directory, str(rank)).write_text(line, "utf-8", errors="replace")
        raise


def _spawn_and_pass_on(function: Callable[..., Any], args: tuple[Any, ...], nprocs: int) -> None:
    context = torch.multiprocessing.start_processes(function, args, nprocs, join=False, start_method="spawn")
    received: list[int] = []
    assert REQUEST is not None
    request: int = REQUEST

    def pass_on(number: int) -> None:
        received.append(number)
        # A terminal or a scheduler may have sent the signal to all processes, which a second SIGINT or SIGTERM would end at
        # once. They may receive `request` any number of times.
        for index in context.sentinels.values():
            os.kill(context.processes[index].pid, request)

    signals = StopSignals(pass_on, _NOTICE)
    signals.install()
    try:
        while not context.join():
            pass
    except ProcessExitedException as error:
        status = _STOPPED + received[0] if received else error.exit_code
        if status <= _STOPPED:
            raise
        raise SystemExit(status) from None
    finally:
        signals.restore()


def _has_callback(params: Params) -> bool:
    callbacks = params.as_dict(quiet=True).get("trainer", {}).get("callbacks") or []
    return any(callback == "bilm" or callback.get("type") == "bilm" for callback in callbacks)
