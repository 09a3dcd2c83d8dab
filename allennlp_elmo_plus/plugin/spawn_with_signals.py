"""What `allennlp train` does with a signal while the processes of a distributed training run: it passes it on and ends as they do.

AllenNLP starts them with `torch.multiprocessing.spawn` and then waits for all of them, whatever it receives itself. Who ends a
training often signals that one process alone (a container, `kill`), and would wait in vain. So this takes the place of `spawn`
there, for trainings with the callback "bilm", whose processes end in good order.

An error that a user's input causes in one of the processes is raised here as the `InputError` that it would be in a training of one
process, in place of an error that holds the traceback as text.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch.multiprocessing
from allennlp.commands import train
from allennlp.common import Params
from torch.multiprocessing import ProcessExitedException
from torch.multiprocessing.spawn import ProcessException

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.plugin.commands.error_lines import error_line
from allennlp_elmo_plus.training.stop_signals import REQUEST, StopSignals

_NOTICE = "it is passed on to the processes of the training, for which this one waits; a second signal ends it at once"
# What a process ends with that a signal has stopped: 128 and the signal's number.
_STOPPED = 128

_spawn = torch.multiprocessing.spawn


def _spawn_and_report(function: Callable[..., Any], args: tuple[Any, ...], nprocs: int) -> None:
    """As `spawn`. Raises `InputError` where a user's input causes the error of a process."""
    spawn = _spawn if REQUEST is None or not _has_callback(args[0]) else _spawn_and_pass_on
    with tempfile.TemporaryDirectory() as directory:
        try:
            spawn(run_and_report, args=(function, directory, *args), nprocs=nprocs)
        except ProcessException as error:
            # Of the process that ended first; or of another, where that one ended because of the other's error.
            first = Path(directory, str(error.error_index))
            written = [path for path in (first, *sorted(Path(directory).iterdir())) if path.exists()]
            if not written:
                raise
            raise InputError(written[0].read_text("utf-8")) from error


def run_and_report(rank: int, function: Callable[..., Any], directory: str, *args: Any) -> Any:
    """Calls `function` with `rank` and `args`. Where that raises an error with an `error_line`, the line is written to the file `rank`
    in `directory`.
    """
    try:
        return function(rank, *args)
    except Exception as error:
        line = error_line(error)
        if line is not None:
            Path(directory, str(rank)).write_text(line, "utf-8", errors="replace")
        raise


def _spawn_and_pass_on(function: Callable[..., Any], args: tuple[Any, ...], nprocs: int) -> None:
    """As `spawn`. Raises `SystemExit` with 128 and the number of the signal that stopped the processes, wherever that was received."""
    context = torch.multiprocessing.start_processes(function, args, nprocs, join=False, start_method="spawn")
    received: list[int] = []
    assert REQUEST is not None
    request: int = REQUEST

    def pass_on(number: int) -> None:
        received.append(number)
        # Where a terminal or a scheduler signals all of them, they have been asked already, and asking twice would end them.
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


train.mp = SimpleNamespace(spawn=_spawn_and_report)  # type: ignore[assignment]
