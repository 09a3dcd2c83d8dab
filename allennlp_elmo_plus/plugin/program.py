"""`elmo-plus` with a command that needs AllenNLP."""

import difflib
import sys

from allennlp.commands import ArgumentParserWithDefaults, main
from allennlp.commands.subcommand import Subcommand
from allennlp.common.plugins import import_plugins
from allennlp.common.util import install_sigterm_handler

from allennlp_elmo_plus.commands.shared.catalog import PROGRAM, typed_name
from allennlp_elmo_plus.commands.shared.command_line import exit_with_error_line

_WRONG_USAGE = 2


def run_with_allennlp(name: str, arguments: list[str]) -> None:
    """Run `name arguments` as `allennlp` would, with this package known."""
    if name not in Subcommand.list_available():
        # It may be a command of another plugin.
        import_plugins()
    known = Subcommand.list_available()
    if name not in known:
        short = [command.removeprefix("elmo-") for command in known]
        similar = difflib.get_close_matches(name.removeprefix("elmo-"), short, 1)
        question = f": did you mean `{similar[0]}`?" if similar else ";"
        print(f"error: {PROGRAM} has no command `{name}`{question} `{PROGRAM} --help` lists all", file=sys.stderr)
        sys.exit(_WRONG_USAGE)
    sys.argv = [PROGRAM, name, *arguments]
    ArgumentParserWithDefaults.error = lambda _, message: exit_with_error_line(typed_name(name), message)  # type: ignore[assignment]
    install_sigterm_handler()
    main(prog=PROGRAM)
