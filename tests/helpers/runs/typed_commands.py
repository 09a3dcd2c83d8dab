"""`elmo-plus` as a user types it, in a fork of the fork server."""

import os
import sys

import allennlp.commands

from allennlp_elmo_plus.__main__ import main
from allennlp_elmo_plus.plugin.patches import print_error_lines_of_commands, tidy_terminal_of_commands


def type_command(folder: str, arguments: list[str], out: str, err: str) -> None:
    """Run `elmo-plus ARGUMENTS` in `folder`; stdout goes to the file `out`, stderr to the file `err`."""
    os.chdir(folder)
    for descriptor, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), descriptor)
    sys.argv = ["elmo-plus", *arguments]
    # AllenNLP would import every module of its own for each command.
    allennlp.commands.import_plugins = lambda: None
    print_error_lines_of_commands()
    tidy_terminal_of_commands()
    try:
        main()
    except SystemExit as exit:
        # The interpreter prints a message that is passed to `sys.exit`.
        sys.exit(print(exit.code, file=sys.stderr) or 1 if isinstance(exit.code, str) else exit.code)
