"""Find and read the files of an example."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from allennlp_elmo_plus.errors import InputError


def find(folder: Path, name: str) -> Path:
    """Return the file `name` or `name`.gz of `folder`.

    Raises:
        InputError: `folder` has neither.
    """
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            return path
    raise InputError(f"`folder` must have the file {name} or {name}.gz, got {str(folder)!r}")


def read_json_lines(path: Path) -> list[Any]:
    """Return the JSON values in the lines of the file `path`."""
    # Not splitlines: a text may have one of its other line ends, such as U+2028.
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def check_folder(folder: Path, work: Path) -> None:
    """Check that all runs in the directory `work` are over the data of `folder`, whose name the first run writes there.

    Raises:
        InputError: an earlier run was over other data.
    """
    work.mkdir(parents=True, exist_ok=True)
    record = work / "folder.txt"
    # A run that was refused has left nothing else.
    if not record.exists() or set(work.iterdir()) == {record}:
        record.write_text(f"{folder.resolve()}\n", encoding="utf-8")
    if (before := record.read_text("utf-8").rstrip("\n")) != str(folder.resolve()):
        raise InputError(
            f"the runs in {work} are over the data of {before}, got {folder}: name another directory with --work, or, if the "
            f"data was moved, write its new path into {record}"
        )


def names_of_models(models: Sequence[Path]) -> list[str]:
    """Return the name of the directory of each of `models`, which is the name of the model in figures.

    Raises:
        InputError: two directories have the same name.
    """
    names = [Path(model).resolve().parent.name for model in models]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise InputError(f"the directories of the models must have different names, got {name!r} twice")
    return names
