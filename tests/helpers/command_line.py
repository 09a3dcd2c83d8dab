"""Commands as they are typed, in this process."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from allennlp.commands import main
from allennlp.common import logging as common_logging

import allennlp_elmo_plus.plugin  # noqa: F401
from allennlp_elmo_plus.plugin import patches

ROOT = Path(__file__).resolve().parents[2]


class Ended(NamedTuple):
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str


def run_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *arguments: Any) -> Ended:
    """`allennlp ARGUMENTS` typed in the repository, where `.allennlp_plugins` lies."""
    monkeypatch.chdir(ROOT)
    # The plugin is imported here; for each command AllenNLP would walk through every module of its own and of allennlp_models.
    monkeypatch.setattr("allennlp.commands.import_plugins", lambda: None)
    monkeypatch.setattr(sys, "argv", ["allennlp", *map(str, arguments)])
    capsys.readouterr()
    status: int = 0
    try:
        main(prog="allennlp")
    except SystemExit as leaving:
        if isinstance(leaving.code, str):
            # As the interpreter does with what `sys.exit` was given.
            print(leaving.code, file=sys.stderr)
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    captured = capsys.readouterr()
    return Ended(status, captured.out, captured.err)


def run_command_to_its_end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *arguments: Any) -> Ended:
    """`run_command`, with what the interpreter does about an error that nothing handles."""
    with monkeypatch.context() as process:
        # To be restored, with what the patch makes of them.
        process.setattr(sys, "excepthook", sys.__excepthook__)
        process.setattr(common_logging, "prepare_global_logging", common_logging.prepare_global_logging)
        patches.print_error_lines_of_commands()
        try:
            return run_command(process, capsys, *arguments)
        except Exception as error:
            sys.excepthook(type(error), error, error.__traceback__)
            captured = capsys.readouterr()
            return Ended(1, captured.out, captured.err)


def only_line(text: str) -> str:
    """The one line that a failing command prints on stderr, below what progress bars left there."""
    lines = [line for line in text.splitlines() if line.strip() and "%|" not in line and "B/s" not in line]
    assert len(lines) == 1, text
    return lines[0]
