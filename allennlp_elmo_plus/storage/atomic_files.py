"""Write files atomically: a reader finds the old file or the complete new one."""

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Optional, Union

from allennlp_elmo_plus.errors import InputError

HDF5_SUFFIXES = (".hdf5", ".h5", ".hdf")


def check_suffix(
    path: Union[str, "os.PathLike[str]"], argument: str, suffixes: Sequence[str], remedy: str = ""
) -> None:
    """Check that the suffix of `path`, a file to write, does not stand for another format.

    Args:
        path: The file to write; its name may have no suffix.
        argument: The name of the argument that holds `path`, for the error message.
        suffixes: The suffixes of the format, in lower case.
        remedy: A phrase for the error message, about another way out.

    Raises:
        InputError: The suffix is not one of `suffixes`.
    """
    suffix = Path(path).suffix
    if suffix and suffix.lower() not in suffixes:
        raise InputError(
            f"`{argument}` must end in {', '.join(suffixes)}, by its format, or have no suffix{remedy}, got {os.fspath(path)}"
        )


@contextmanager
def atomic_path(path: Union[str, "os.PathLike[str]"]) -> Iterator[Path]:
    """Yield the path of a temporary file, which becomes the file `path` when the block ends.

    The file is flushed to disk before it is renamed. If the block raises an error, the temporary file is removed and `path`
    stays as it was. The temporary name is in the directory of `path`, keeps its suffix, and starts with a dot, so that a
    directory read as a corpus skips it. If `path` is a symbolic link, the file it points to is replaced, not the link.

    Raises:
        InputError: The directory of `path` is missing or cannot be written, or `path` exists and is not a regular file. The block is
            not run.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise InputError(f"cannot write `{path}`: there is no directory `{target.parent}`")
    if target.exists() and not target.is_file():
        raise InputError(f"cannot write `{path}`: it exists and is not a regular file")
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(6)}.tmp{target.suffix}")
    try:
        temporary.touch()
    except OSError as error:
        raise InputError(f"cannot write `{path}`: {error.strerror or error}") from None
    try:
        yield temporary
        flush_to_disk(temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    flush_to_disk(target.parent)


def remove_unfinished(directory: Path, suffix: str, stem: str = "*") -> None:
    """Remove the temporary files of `atomic_path` that killed processes left in `directory`.

    Args:
        directory: The directory of the files that were to be written.
        suffix: A glob pattern for their suffix.
        stem: A glob pattern for their name without the suffix.
    """
    for path in directory.glob(f".{stem}.{12 * '[0-9a-f]'}.tmp{suffix}"):
        path.unlink(missing_ok=True)


def flush_to_disk(path: Path) -> None:
    """Flush the file `path`, or the names in the directory `path`, from the memory of the system to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def optional_path(path: Optional[str]) -> AbstractContextManager[Optional[Path]]:
    """Return `atomic_path(path)`, or a context of None for no path.

    Commands enter it before their work, so that a file that cannot be written is refused at once.
    """
    return nullcontext() if path is None else atomic_path(path)
