"""The parts that the `elmo...` commands share: help, exit status, arguments, progress bar."""

import argparse
import inspect
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn, Optional

from tqdm import tqdm

from allennlp_elmo_plus.commands.shared.catalog import typed_name
from allennlp_elmo_plus.data.text.text_files import is_named_by

TEXT_HELP = (
    "one sentence per line, white space between words; a file, a directory, a pattern such as 'corpus/*.txt.gz' in quotes, or "
    "several of these separated by commas; files may be compressed (.gz)"
)
STREAMED_TEXT_HELP = f"{TEXT_HELP}; - reads standard input"

# The exit status that a shell reports for a command that Ctrl-C ended.
_INTERRUPTED = 130


class UsageError(Exception):
    """Two arguments do not fit together; the command ends with status 2."""


class ElmoCommand:
    """A command of `elmo-plus` and of `allennlp`; its name is that of its file.

    Its docstring is its help: the first paragraph is in `elmo-plus --help`, all paragraphs are in the help of the command. The
    command ends with status 2 at a wrong argument, and with 130 at an interruption. Errors are raised: `error_lines` prints them.

    Attributes:
        example: The last part of the help.
        after_interruption: What the user reads after an interruption. The default holds for a command that writes nothing, or with
            `atomic_path`.
    """

    example: str
    after_interruption = "no file was changed"
    # AllenNLP reads this attribute of a command.
    requires_plugins = False

    @property
    def name(self) -> str:
        """Return the name of the command, `elmo-report` for the file `elmo_report.py`."""
        return type(self).__module__.rpartition(".")[2].replace("_", "-")

    def add_subparser(self, parser: argparse._SubParsersAction) -> argparse.ArgumentParser:
        """Return the parser of the command, which is added to `parser`; `func` of the parsed arguments runs the command."""
        paragraphs = (inspect.getdoc(type(self)) or "").split("\n\n")
        width = shutil.get_terminal_size().columns - 2
        subparser = parser.add_parser(
            self.name,
            prog=typed_name(self.name),
            help=paragraphs[0],
            description="\n\n".join(textwrap.fill(paragraph, width) for paragraph in paragraphs),
            epilog=self.example,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        subparser.error = partial(exit_with_error_line, subparser.prog)  # type: ignore[method-assign]
        self.add_arguments(subparser)
        subparser.set_defaults(func=partial(self._run_to_exit, subparser))
        return subparser

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments of the command to `parser`."""

    def run(self, args: argparse.Namespace) -> None:
        """Run the command; raise `UsageError` if two arguments do not fit together."""

    def _run_to_exit(self, parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
        try:
            self.run(args)
        except UsageError as error:
            parser.error(str(error))
        except KeyboardInterrupt:
            print(f"\ninterrupted: {self.after_interruption}", file=sys.stderr)
            sys.exit(_INTERRUPTED)


def exit_with_error_line(command: str, message: str) -> NoReturn:
    """Print the error `message` about the arguments of `command`, without the usage that argparse prints; exit with status 2."""
    print(f"{command}: error: {message}; {command} --help lists the arguments", file=sys.stderr)
    sys.exit(2)


def integer_from(minimum: int) -> Callable[[str], int]:
    """Return a type for `argparse`: whole numbers of at least `minimum`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from None
        if value < minimum:
            raise argparse.ArgumentTypeError(f"must be at least {minimum}, got {value}")
        return value

    return parse


def add_encoding_errors_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--encoding-errors` to `parser`."""
    parser.add_argument(
        "--encoding-errors",
        choices=["strict", "replace"],
        default="strict",
        help="at bytes that are not UTF-8: stop with an error, or read the character U+FFFD; use the same value in the config",
    )


def refuse_to_replace(output: Optional[str], texts: Iterable[str] = (), files: Iterable[Optional[str]] = ()) -> None:
    """Check that a command does not write over what it reads, nor into a text that it reads.

    Args:
        output: The file to write; None writes nothing.
        texts: The texts to read, see `resolve_paths`.
        files: Other files to read, and directories of models, whose files are recognized by their names; None, and what is
            neither, is passed over.

    Raises:
        UsageError: `output` is one of them, or lies in such a directory.
    """
    if output is None:
        return
    for text in texts:
        if is_named_by(text, output):
            raise UsageError(
                f"the output must be another file than the input, got {output}, which is in the text {text}"
            )
    for file in filter(None, files):
        if os.path.isdir(file) and os.path.realpath(file) == os.path.realpath(os.path.dirname(output)):
            raise UsageError(f"the output must not lie in the directory of the model, got {output}")
        if os.path.isfile(file) and os.path.exists(output) and os.path.samefile(file, output):
            raise UsageError(f"the output must be another file than the input, got {output} for both")


@contextmanager
def progress_bar(description: str, unit: str, total: Optional[int], done: int = 0) -> Iterator[Callable[[int], Any]]:
    """Yield a function that moves a progress bar on stderr by a number of units.

    Args:
        description: What the command is doing.
        unit: The name of a unit of work.
        total: The number of all units; the bar shows the remaining time only if it is known.
        done: The number of units that an earlier run did.
    """
    # 5.91M bytes are easier to read than 5,914,332, but 2 runs are not 2.00 runs.
    with tqdm(desc=description, unit=unit, unit_scale=unit == "B", total=total, initial=done) as bar:
        yield bar.update
