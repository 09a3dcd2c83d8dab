"""Writing files so that a reader finds the old file or the whole new one, never a part."""

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Union

from allennlp_elmo_plus.errors import InputError

HDF5_SUFFIXES = (".hdf5", ".h5", ".hdf")


def check_suffix(
    path: Union[str, "os.PathLike[str]"], argument: str, suffixes: Sequence[str], remedy: str = ""
) -> None:
    """Raises `InputError`, naming `argument`, where the name `path` of a file to write ends in a suffix that is not one of
    `suffixes`, and so promises another format. `remedy` says what else the user can do.
    """
    suffix = Path(path).suffix
    if suffix and suffix.lower() not in suffixes:
        raise InputError(
            f"`{argument}` must end in {', '.join(suffixes)}, by its format, or have no suffix{remedy}, got {os.fspath(path)}"
        )


@contextmanager
def atomic_path(path: Union[str, "os.PathLike[str]"]) -> Iterator[Path]:
    """Gives a temporary name beside `path` to write to. When the block ends well, what was written there is flushed to
    disk and renamed to `path`; when it raises, the temporary file is removed and `path` is left as it was.

    The temporary name keeps the suffix of `path` and starts with a dot, so that a directory read as a corpus skips it.
    A symbolic link is followed: the file it points to is replaced, not the link.

    Raises `InputError` when the directory of `path` does not exist, or when `path` is there but is no regular file (a
    directory, a device), before anything is written.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise InputError(f"cannot write `{path}`: there is no directory `{target.parent}`")
    if target.exists() and not target.is_file():
        raise InputError(f"cannot write `{path}`: it exists and is not a regular file")
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(6)}.tmp{target.suffix}")
    try:
        yield temporary
        flush_to_disk(temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    flush_to_disk(target.parent)


def remove_unfinished(directory: Path, suffix: str) -> None:
    """Removes what `atomic_path`, for names that end in `suffix`, left in `directory` when its process was killed."""
    for path in directory.glob(f".*.tmp{suffix}"):
        path.unlink(missing_ok=True)


def flush_to_disk(path: Path) -> None:
    """Writes what the system still holds in memory of the file `path` to disk; of a directory, the names in it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
