"""The members of a tar.gz that a stranger made: all checked before one is used, and none ever written under its own name."""

import gzip
import posixpath
import tarfile
import zlib
from typing import BinaryIO, NamedTuple

from allennlp_elmo_plus.errors import InputError, truncated_repr

MAX_MEMBERS = 10_000

# tarfile reads what a header announces at once; a long name or its attributes take no more than this.
_MAX_READ = 2**16

_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
}


class _Member(NamedTuple):
    start: int  # of its content in the decompressed archive
    size: int


class CheckedTar:
    """The files of the tar.gz in `file`, by name.

    Constructing it decompresses the whole archive once and looks at every member. Raises InputError, in one line without
    the archive's name, where one is anything but a file or a directory (links, devices, pipes, sparse files), has an
    absolute path or one with `..`, or comes twice; where there are more than MAX_MEMBERS; and where the archive is longer than
    `max_bytes` decompressed. Raises `OSError`, `EOFError`, `zlib.error` or `tarfile.TarError` of a damaged one.

    Neither constructing nor reading takes memory for what a member claims to be: only for what is asked for and there.
    """

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self._stream = _BoundedStream(gzip.GzipFile(fileobj=file), max_bytes)
        self._members: dict[str, _Member] = {}
        try:
            self._look_at_all()
        except (InputError, OSError, EOFError, zlib.error, tarfile.TarError):
            raise
        except Exception as error:  # Whatever a damaged header leads tarfile to.
            raise tarfile.ReadError(f"{type(error).__name__}: {error}") from None
        # The checksum comes last.
        while self._stream.read(_MAX_READ):
            pass

    def _look_at_all(self) -> None:
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
        """Appends the content of the file `name` to `target`. Raises InputError where it is missing or over `max_bytes`."""
        if name not in self._members:
            raise InputError(f"holds no `{name}`")
        start, left = self._members[name]
        if left > max_bytes:
            raise InputError(f"its `{name}` must be at most {max_bytes:,} bytes, got {left:,}")
        self._stream.rewind_to(start)
        while left:
            data = self._stream.read(min(left, _MAX_READ))
            if not data:
                raise EOFError(f"`{name}` is cut short")
            target.write(data)
            left -= len(data)


class _BoundedStream:
    """What tarfile reads of a decompressed archive: forwards, not beyond `max_bytes`, and not much at once."""

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
        # tarfile steps back by one byte, and in its old versions, for a member of negative size, round and round.
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
