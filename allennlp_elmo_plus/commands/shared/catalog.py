"""The list of this package's commands. The file `elmo_NAME.py` holds the command `elmo-NAME`: one subclass of `ElmoCommand`."""

import ast
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from allennlp_elmo_plus.commands.shared.command_line import ElmoCommand

PROGRAM = "elmo-plus"

_PACKAGE = Path(__file__).parents[2]
_FOLDERS = ("commands", "commands/scoring", "plugin/commands")


def command_files() -> dict[str, Path]:
    """Return the file of each command by the command's name."""
    files = (path for folder in _FOLDERS for path in (_PACKAGE / folder).glob("elmo*.py"))
    return {path.stem.replace("_", "-"): path for path in sorted(files, key=lambda path: path.stem)}


def typed_name(name: str) -> str:
    """Return what a user types to run the command `name`: `elmo-plus report` for `elmo-report`."""
    return f"{PROGRAM} {name.removeprefix('elmo-')}"


def needs_allennlp(path: Path) -> bool:
    """Return whether the command in the file `path` needs AllenNLP."""
    return _PACKAGE / "plugin" in path.parents


def summary(path: Path) -> str:
    """Return the first line of a command's docstring. The file `path` is read, not imported: an import may take seconds."""
    classes = [node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.ClassDef)]
    bases = {base.id: node for node in classes for base in node.bases if isinstance(base, ast.Name)}
    return (ast.get_docstring(bases["ElmoCommand"]) or "").partition("\n")[0]


def load_command(name: str) -> "type[ElmoCommand]":
    """Return the class of the command `name`, whose file is imported."""
    from allennlp_elmo_plus.commands.shared.command_line import ElmoCommand

    path = command_files()[name]
    module = import_module(".".join(path.relative_to(_PACKAGE.parent).with_suffix("").parts))
    (command,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, ElmoCommand) and value.__module__ == module.__name__
    )
    return command
