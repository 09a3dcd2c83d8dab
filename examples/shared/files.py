"""Find the files that an example reads."""

from pathlib import Path

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
