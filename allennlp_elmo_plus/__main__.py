"""The program `elmo-plus`: this package's commands and AllenNLP's, from any folder.

Only what a command needs is imported, so that its start takes as long as that of PyTorch, not of AllenNLP.
"""

import argparse
import io
import logging
import os
import select
import signal
import sys
from functools import partial
from types import FrameType
from typing import Optional

from allennlp_elmo_plus import __version__
from allennlp_elmo_plus.commands.shared.catalog import (
    PROGRAM,
    command_files,
    load_command,
    needs_allennlp,
    summary,
    typed_name,
)

# AllenNLP's own words are longer; importing AllenNLP to read them would take seconds.
ALLENNLP_COMMANDS = {
    "train": "Train a model with a config.",
    "evaluate": "Evaluate a trained model on a text.",
    "predict": "Apply a trained model to the lines of a file.",
    "build-vocab": "Write the vocabulary of a config.",
    "find-lr": "Find a range of learning rates.",
    "print-results": "Print the metrics of several runs as a table.",
    "diff": "Show the difference between the weights of two models.",
    "count-instances": "Count the training instances of a config.",
    "cached-path": "Download files into AllenNLP's cache.",
    "push-to-hf": "Push a model to the Hugging Face Hub.",
    "checklist": "Test a model with the library checklist.",
    "test-install": "Test that AllenNLP is installed correctly.",
}


def main() -> None:
    """Run the command that the arguments of this process name.

    Raises:
        BrokenPipeError: of any pipe but the output of this process.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A character that the terminal lacks must not end a command. Files are UTF-8, as all that are read and written.
        if sys.stdout.isatty():
            sys.stdout.reconfigure(errors="backslashreplace")
        else:
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        try:
            _run_command()
        finally:
            # None where the program was started without an output.
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_has_ended():
            raise
        # Another output would fail at the end of the interpreter.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def _reader_has_ended() -> bool:
    """Return whether the program that reads the output of this process has ended, as `head` does after some lines."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))


def _run_command() -> None:
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(help_text())
    elif name == "--version":
        print(f"{PROGRAM} {__version__}")
    else:
        run(full_name(name), arguments)


def full_name(name: str) -> str:
    """Return the name of the command that a user calls `name`: this package's commands may be named without `elmo-`."""
    prefixed = f"elmo-{name}"
    return prefixed if name not in ALLENNLP_COMMANDS and prefixed in command_files() else name


def help_text() -> str:
    """Return the list of all commands, one line each, this package's first."""
    ours = {name.removeprefix("elmo-"): summary(path) for name, path in command_files().items()}
    width = max(map(len, (*ours, *ALLENNLP_COMMANDS)))
    lists = (
        "\n".join([f"{title}:", *(f"  {name:<{width}}  {words}" for name, words in commands.items())])
        for title, commands in (("commands", ours), ("commands of AllenNLP", ALLENNLP_COMMANDS))
    )
    usage = f"usage: {PROGRAM} COMMAND [ARGUMENTS]\n       {PROGRAM} COMMAND --help\n       {PROGRAM} --version"
    return "\n\n".join([usage, *lists])


def run(name: str, arguments: list[str]) -> None:
    """Run the command `name` with `arguments` in this process, which is a command of its own."""
    path = command_files().get(name)
    if path is None or needs_allennlp(path):
        try:
            from allennlp_elmo_plus.plugin.program import run_with_allennlp
        except ImportError as error:
            sys.exit(f"error: {error}")
        run_with_allennlp(name, arguments)
        return
    from allennlp_elmo_plus.commands.shared.command_line import exit_with_error_line
    from allennlp_elmo_plus.commands.shared.error_lines import hook_with_error_lines
    from allennlp_elmo_plus.commands.shared.log_lines import TerminalFormatter, TerminalHandler
    from allennlp_elmo_plus.training.malloc import keep_freed_memory

    level = "DEBUG" if os.environ.get("ALLENNLP_DEBUG") else os.environ.get("ALLENNLP_LOG_LEVEL", "")
    # As for AllenNLP, a name that is no level counts as none.
    level = level if isinstance(logging.getLevelName(level), int) else ""
    handler = TerminalHandler()
    handler.setFormatter(TerminalFormatter())
    # Of other libraries, such as Dask, only warnings are shown.
    logging.basicConfig(handlers=[handler], level=level or "WARNING")
    logging.getLogger(__package__).setLevel(level or "INFO")
    signal.signal(signal.SIGTERM, _exit)
    sys.excepthook = hook_with_error_lines(sys.excepthook)
    keep_freed_memory()
    parser = argparse.ArgumentParser(prog=PROGRAM)
    # The parser of the whole program reports unknown arguments.
    parser.error = partial(exit_with_error_line, typed_name(name))  # type: ignore[method-assign]
    load_command(name)().add_subparser(parser.add_subparsers())
    args = parser.parse_args([name, *arguments])
    args.func(args)


def _exit(number: int, frame: Optional[FrameType]) -> None:
    # Files that are being written are removed on the way.
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
