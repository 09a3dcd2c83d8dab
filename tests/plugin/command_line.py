"""Commands as they are typed, in this process."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from allennlp.commands import main

import allennlp_elmo_plus.plugin  # noqa: F401

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


def only_line(text: str) -> str:
    """The one line that a failing command prints on stderr, below what progress bars left there."""
    lines = [line for line in text.splitlines() if line.strip() and "%|" not in line and "B/s" not in line]
    assert len(lines) == 1, text
    return lines[0]
