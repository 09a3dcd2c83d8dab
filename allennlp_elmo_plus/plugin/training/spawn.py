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

from allennlp_elmo_plus.commands.shared.error_lines import error_line, log_to_files
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.plugin.strict_from_params import refuse_unknown
from allennlp_elmo_plus.training.stop_signals import REQUEST, StopSignals

_NOTICE = "the processes save a checkpoint after the current batch, then the run ends; a second signal ends it at once"
# A process that a signal has stopped exits with 128 and the signal's number.
_STOPPED = 128
_DISTRIBUTED_OPTIONS = ["cuda_devices", "num_nodes", "primary_address", "primary_port", "ddp_accelerator"]
_INPUT_ERROR, _FAILURE = ".input", ".failure"


class TrainingProcessError(RuntimeError):
    """The first error of the processes of a training, and how the training can be continued."""


def spawn(function: Callable[..., Any], args: tuple[Any, ...], nprocs: int) -> None:
    """Run `function(rank, *args)` in `nprocs` processes and wait for them, as `torch.multiprocessing.spawn` does.

    For a training with the callback "bilm", whose processes stop at a signal with a checkpoint, a signal to this process is passed
    on to all of them.

    `args` are those of AllenNLP's `_train_worker`: the config and the serialization directory first, the section `distributed` of
    the config last.

    Raises:
        ConfigurationError: where the section `distributed` has an unknown option.
        InputError: where a user's input causes the error of a process.
        TrainingProcessError: for any other error of a process, from the `ProcessException` with its traceback.
        SystemExit: with 128 and the signal's number, where a signal has stopped the processes.
    """
    distributed = args[-1]
    if isinstance(distributed, Params):
        refuse_unknown("distributed", list(distributed.keys()), _DISTRIBUTED_OPTIONS)
    passes_signals_on = REQUEST is not None and _has_callback(args[0])
    start = _spawn_and_pass_on if passes_signals_on else torch.multiprocessing.spawn
    with tempfile.TemporaryDirectory() as directory:
        try:
            start(run_and_report, args=(function, directory, *args), nprocs=nprocs)
        except ProcessException as error:
            # The process that ended first may have ended because of another one's error.
            ended_first = str(error.error_index)
            paths = sorted(Path(directory).iterdir(), key=lambda path: path.stem != ended_first)
            for path in paths:
                if path.suffix == _INPUT_ERROR:
                    raise InputError(path.read_text("utf-8")) from error
            # A process that a signal has killed leaves no file; the other processes then fail over a closed connection.
            was_killed = isinstance(error, ProcessExitedException) and error.signal_name is not None
            first = paths[0].read_text("utf-8") if paths and not was_killed else str(error)
            where = "" if was_killed else "the traceback is in out_worker*.log; "
            raise TrainingProcessError(f"{first} ({where}{_way_to_continue(*args)})") from error


def _way_to_continue(config: Params, serialization_dir: str, *_: Any) -> str:
    if any(Path(serialization_dir).glob("training_state_*.th")):
        return "the same command with --recover continues from the last checkpoint"
    return "no checkpoint was saved yet"


def run_and_report(rank: int, function: Callable[..., Any], directory: str, *args: Any) -> Any:
    """Return `function(rank, *args)`; an error leaves one line in a file of `directory`, and its traceback in the log files.

    The file of an error with an `error_line` is `rank.input`. That of any other error is `rank.failure`; its line is that of the
    process that failed first, if `DistributedGuard` knows it.
    """
    try:
        return function(rank, *args)
    except Exception as error:
        log_to_files(error)
        line, suffix = error_line(error), _INPUT_ERROR
        if line is None:
            own = f"process {rank} failed, {type(error).__name__}: {error}"
            line, suffix = " ".join(getattr(error, "first_error", own).split()), _FAILURE
        Path(directory, f"{rank}{suffix}").write_text(line, "utf-8", errors="replace")
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
    return any("bilm" in (callback, isinstance(callback, dict) and callback.get("type")) for callback in callbacks)
