"""`allennlp` commands run in this process."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from allennlp.commands import evaluate, main
from allennlp.common import logging as common_logging
from allennlp.common import tqdm as common_tqdm
from allennlp.evaluation.evaluator import SimpleEvaluator
from allennlp.training import util as training_util

import allennlp_elmo_plus.plugin  # noqa: F401
from allennlp_elmo_plus.plugin import patches

ROOT = Path(__file__).resolve().parents[2]


class Ended(NamedTuple):
    """The exit status of a command, and its output."""

    status: int
    out: str
    err: str


def run_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *arguments: Any) -> Ended:
    """Run `allennlp ARGUMENTS` in the repository, whose `.allennlp_plugins` names the plugin."""
    monkeypatch.chdir(ROOT)
    # The plugin is already imported. AllenNLP would import every module of its own and of allennlp_models for each command.
    monkeypatch.setattr("allennlp.commands.import_plugins", lambda: None)
    monkeypatch.setattr(sys, "argv", ["allennlp", *map(str, arguments)])
    capsys.readouterr()
    status: int = 0
    try:
        main(prog="allennlp")
    except SystemExit as exit:
        if isinstance(exit.code, str):
            # The interpreter prints a message that is passed to `sys.exit`.
            print(exit.code, file=sys.stderr)
        status = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    captured = capsys.readouterr()
    return Ended(status, captured.out, captured.err)


def write_as_a_command(process: pytest.MonkeyPatch) -> None:
    """Have this process write to the terminal as a command does, until `process` is undone."""
    for owner, name in (
        (common_logging, "prepare_global_logging"),
        (training_util, "description_from_metrics"),
        (evaluate, "evaluate_from_archive"),
        (SimpleEvaluator, "__call__"),
        (common_tqdm, "_tqdm"),
    ):
        process.setattr(owner, name, getattr(owner, name))
    patches.tidy_terminal_of_commands()


def run_command_to_its_end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *arguments: Any) -> Ended:
    """Run a command as `run_command` does; an error that is not handled is printed, as the interpreter does."""
    with monkeypatch.context() as process:
        # The patches replace functions, which are restored at the end.
        process.setattr(sys, "excepthook", sys.__excepthook__)
        write_as_a_command(process)
        patches.print_error_lines_of_commands()
        try:
            return run_command(process, capsys, *arguments)
        except Exception as error:
            sys.excepthook(type(error), error, error.__traceback__)
            captured = capsys.readouterr()
            return Ended(1, captured.out, captured.err)


def only_line(text: str) -> str:
    """Return the only line of `text`, the stderr of a failed command, that is not of a progress bar."""
    lines = [line for line in text.splitlines() if line.strip() and "%|" not in line and "B/s" not in line]
    assert len(lines) == 1, text
    return lines[0]


def lines_of(text: str) -> list[str]:
    """Return the lines of a terminal that are not blank; of a line that was overwritten, the last text."""
    lines = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return [line for line in lines if line]
