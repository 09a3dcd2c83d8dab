"""The program `elmo-plus`."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from allennlp.commands.subcommand import Subcommand

from allennlp_elmo_plus import HOW_TO_GET_ALLENNLP, __version__
from allennlp_elmo_plus.__main__ import ALLENNLP_COMMANDS, full_name, help_text
from tests.helpers.command_line import ROOT
from tests.helpers.small_text import small_config, write_text

# A program in which `import allennlp` and PyTorch fail; None stands for a library that is not installed.
WITHOUT = "import sys, runpy; sys.modules.update(dict.fromkeys({names})); sys.argv[0] = 'elmo-plus'; {call}"
CALL = "runpy.run_module('allennlp_elmo_plus', run_name='__main__')"


def run_program(directory: Path, *arguments: Any, without: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    """Run `elmo-plus ARGUMENTS` in `directory`, where no file names the plugin; the libraries `without` are missing."""
    code = WITHOUT.format(names=list(without), call=CALL)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(directory), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *(["-c", code] if without else ["-m", "allennlp_elmo_plus"]), *map(str, arguments)]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=1200)


def test_the_help_lists_every_command_in_one_line() -> None:
    lines = help_text().splitlines()
    assert max(map(len, lines)) <= 100
    names = [line.split()[0] for line in lines if re.match(r"  \w", line)]
    registered = Subcommand.list_available()
    assert {full_name(name) for name in names} >= set(registered) - {"custom"} and len(names) == len(set(names))
    ours = [name for name in names if name not in ALLENNLP_COMMANDS]
    assert names == ours + list(ALLENNLP_COMMANDS) and len(ours) > 5
    assert all(line.endswith(".") for line in lines if re.match(r"  \w", line))


def test_help_needs_no_library(tmp_path: Path) -> None:
    large = ("allennlp", "torch", "numpy")
    for arguments in ([], ["--help"], ["-h"]):
        ended = run_program(tmp_path, *arguments, without=large)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, help_text() + "\n", "")
    assert run_program(tmp_path, "--version", without=large).stdout == f"elmo-plus {__version__}\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["report", "elmo-report"])
def test_a_command_of_this_package_runs_without_allennlp(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No level of the log: AllenNLP's commands ignore it too.
    monkeypatch.setenv("ALLENNLP_LOG_LEVEL", "debug")
    write_text(tmp_path / "text.txt", [["a", "b"]])
    ended = run_program(tmp_path, name, tmp_path / "nowhere", without=("allennlp", "spacy", "transformers"))
    assert ended.returncode == 1 and ended.stderr.splitlines()[-1].startswith("error: ")
    assert "nowhere" in ended.stderr and "Traceback" not in ended.stderr


def test_both_spellings_name_a_command() -> None:
    spellings = ("report", "elmo-report", "elmo", "train", "unknown")
    assert [full_name(name) for name in spellings] == ["elmo-report", "elmo-report", "elmo", "train", "unknown"]


def test_a_command_that_needs_allennlp_says_how_to_get_it(tmp_path: Path) -> None:
    ended = run_program(tmp_path, "train", without=("allennlp",))
    assert (ended.returncode, ended.stderr) == (1, f"error: {HOW_TO_GET_ALLENNLP}\n")


@pytest.mark.slow
def test_an_unknown_command_is_answered_in_one_line(tmp_path: Path) -> None:
    ended = run_program(tmp_path, "neighbours")
    line = "error: elmo-plus has no command `neighbours`: did you mean `neighbors`? `elmo-plus --help` lists all\n"
    assert ended.returncode == 2 and ended.stderr.endswith(line) and "Traceback" not in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [("report", "run", "--ouput", "x"), ("train", "config.json", "-s", "out", "--recovr")]
)
def test_an_unknown_argument_is_answered_in_one_line(arguments: tuple[str, ...], tmp_path: Path) -> None:
    ended = run_program(tmp_path, *arguments)
    (line,) = ended.stderr.splitlines()
    command = f"elmo-plus {arguments[0]}"
    assert ended.returncode == 2 and line.startswith(f"{command}: error: unrecognized arguments: --")
    assert line.endswith(f"; {command} --help lists the arguments")


@pytest.mark.slow
def test_an_unknown_command_that_is_like_no_other(tmp_path: Path) -> None:
    ended = run_program(tmp_path, "qqq")
    assert ended.stderr.endswith("error: elmo-plus has no command `qqq`; `elmo-plus --help` lists all\n")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["report", "elmo-report"])
def test_an_error_names_the_command_as_a_user_types_it(name: str, tmp_path: Path) -> None:
    ended = run_program(tmp_path, name)
    assert ended.stderr.startswith("elmo-plus report: error: ") and "elmo-report" not in ended.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["--help", "config bilm"])
def test_the_program_ends_silently_with_the_reader_of_its_output(command: str, unbuffered: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    words = [sys.executable, "-m", "allennlp_elmo_plus", *command.split()]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 128 + signal.SIGPIPE


def test_an_output_that_is_no_terminal_is_utf8(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the mill\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "allennlp_elmo_plus", "vocab", "text.txt", "--output", "wörter.txt"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
    assert ended.returncode == 0 and ended.stdout.decode("utf-8").endswith("wrote wörter.txt\n")


def test_a_stop_signal_leaves_no_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "allennlp_elmo_plus", "vocab", "-", "--output", "vocab.txt"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes) as process:
        # The progress bar appears after the output is opened.
        assert process.stderr is not None and process.stderr.read(1)
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_each_process_of_a_distributed_training_knows_the_package_and_its_terminal(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    config["trainer"]["num_epochs"] = 1
    config["trainer"].pop("cuda_device", None)
    config["distributed"] = {"cuda_devices": [-1, -1]}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    ended = run_program(tmp_path, "train", "config.json", "-s", "out")
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "allennlp.common.params" not in ended.stdout
    assert (tmp_path / "out" / "model.tar.gz").stat().st_size > 0
