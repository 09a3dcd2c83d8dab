"""Read a tar.gz from an untrusted source: all members are checked first, and none is written under its own name."""

import gzip
import posixpath
import tarfile
import zlib
from typing import BinaryIO, NamedTuple

from allennlp_elmo_plus.errors import InputError, truncated_repr

MAX_MEMBERS = 10_000

# tarfile reads long names and attributes with one call, of the size in the header. Real ones are shorter than this.
_MAX_READ = 2**16

_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
}


class _Member(NamedTuple):
    start: int  # offset of the content in the decompressed archive
    size: int


class CheckedTar:
    """The files of the tar.gz in `file`, by name.

    The constructor decompresses the whole archive once and checks every member. Memory does not grow with the sizes that
    members claim.

    Args:
        file: The archive.
        max_bytes: The maximum size of the decompressed archive.

    Raises:
        InputError: A member is neither a file nor a directory (a link, device, pipe or sparse file), has an absolute path or a
            path with `..`, or has the name of another one; there are more than `MAX_MEMBERS`; or the archive is over
            `max_bytes`. The message does not name the archive.
        OSError, EOFError, zlib.error, tarfile.TarError: The archive is damaged.
    """

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self._stream = _BoundedStream(gzip.GzipFile(fileobj=file), max_bytes)
        self._members: dict[str, _Member] = {}
        try:
            self._check_members()
        except (InputError, OSError, EOFError, zlib.error, tarfile.TarError):
            raise
        except Exception as error:  # For a damaged header tarfile raises errors of many types.
            raise tarfile.ReadError(f"{type(error).__name__}: {error}") from None
        # Read to the end, where gzip checks the checksum.
        while self._stream.read(_MAX_READ):
            pass

    def _check_members(self) -> None:
        seen: set[str] = set()
        with tarfile.open(fileobj=self._stream, mode="r:") as archive:  # type: ignore[call-overload]
            while (member := archive.next()) is not None:
                name = _checked_name(member, seen)
                if len(seen) > MAX_MEMBERS:
                    raise InputError(f"must hold at most {MAX_MEMBERS:,} members, got more")
                if member.isreg():
                    self._members[name] = _Member(member.offset_data, member.size)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def copy(self, name: str, target: BinaryIO, max_bytes: int) -> None:
        """Append the content of the file `name` to `target`.

        Raises:
            InputError: The file is missing or over `max_bytes`.
            EOFError: The archive ends before the file does.
        """
        if name not in self._members:
            raise InputError(f"holds no `{name}`")
        start, remaining = self._members[name]
        if remaining > max_bytes:
            raise InputError(f"its `{name}` must be at most {max_bytes:,} bytes, got {remaining:,}")
        self._stream.rewind_to(start)
        while remaining:
            data = self._stream.read(min(remaining, _MAX_READ))
            if not data:
                raise EOFError(f"`{name}` is truncated")
            target.write(data)
            remaining -= len(data)


class _BoundedStream:
    """The decompressed archive for tarfile, with a limit for its size and for the size of each read."""

    def __init__(self, stream: gzip.GzipFile, max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = max_bytes

    def read(self, size: int) -> bytes:
        if size > _MAX_READ:
            raise InputError(f"the headers of a member must be at most {_MAX_READ:,} bytes, got {size:,}")
        data = self._stream.read(size)
        self._check(self.tell())
        return data

    def seek(self, position: int) -> None:
        # tarfile moves back by one byte. Its old versions, for a member of negative size, move back in an endless loop.
        if position < self.tell() - 1:
            raise InputError("the size of a member must be at least 0, got less")
        self._check(position)
        self._stream.seek(position)

    def rewind_to(self, position: int) -> None:
        self._stream.seek(position)

    def tell(self) -> int:
        return self._stream.tell()

    def _check(self, position: int) -> None:
        if position > self._max_bytes:
            raise InputError(f"must be at most {self._max_bytes:,} bytes decompressed, got more")


def _checked_name(member: tarfile.TarInfo, seen: set[str]) -> str:
    shown_name = truncated_repr(str(member.name))
    if member.issparse() or not (member.isreg() or member.isdir()):
        kind = "a sparse file" if member.issparse() else _KINDS.get(member.type, f"one of type {member.type!r}")
        raise InputError(f"the member {shown_name} must be a file or a directory, got {kind}")
    if member.name.startswith("/") or ".." in member.name.split("/"):
        raise InputError(f"the member {shown_name} must have a relative path without `..`")
    name = posixpath.normpath(member.name)
    if name in seen:
        raise InputError(f"the member {shown_name} must be there once, got it twice")
    seen.add(name)
    return name
