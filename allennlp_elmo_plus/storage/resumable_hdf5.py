"""An HDF5 file of one array a sentence, laid out whole before any array is computed, so that no kill can damage it.

What HDF5 keeps about its datasets it changes in place, in several spots of the file, so that a process killed while it adds one
may leave a file that nobody can open. Here every dataset is made, and has its place in the file, at the beginning; the file is
closed, synced and renamed to `NAME.part`. After that HDF5 never writes to it again: an array's bytes are written where they
belong, over what was there, and may be written twice.

A journal beside it, `NAME.part.journal`, says which run this is and how many sentences are known to be on disk, see
`storage/progress_journal.py`.
"""

import glob
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Optional

import h5py
import numpy as np

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.storage.atomic_files import atomic_path, flush_to_disk
from allennlp_elmo_plus.storage.progress_journal import Progress, ProgressJournal, check_same_run

_SECONDS_BETWEEN_RECORDS = 10.0


class NoPlaceError(InputError):
    """An array that the layout of the file does not have."""


class Layout(NamedTuple):
    """The datasets of the file, in order, and the texts beside them."""

    shapes: Callable[[], Iterable[tuple[str, tuple[int, ...]]]]  # key and shape of each
    texts: Callable[[], dict[str, str]]  # key and content, asked for after `shapes` has been read to its end
    dtype: str = "float32"  # of all arrays: float32 or float16


class ResumableHdf5Writer:
    """Arrays of numbers under the name `path` + ".part" until the last one is there.

    run: what the file is of; a file begun for another run is refused. num_bytes: all arrays together.

    A symbolic link at `path` is followed, as by `atomic_path`: the file that it points to is written.

    Raises InputError, before anything is written, where `path` exists, its directory does not, another process writes the file,
    it was begun for another run, or the disk has no room for it.
    """

    def __init__(self, path: Path, run: dict[str, Any], layout: Layout, num_bytes: int) -> None:
        check_new(path)
        self.path = path = Path(os.path.realpath(path))
        self.part = path.with_name(f"{path.name}.part")
        self._dtype = _little_endian(layout)
        self._journal = ProgressJournal(path.with_name(f"{path.name}.part.journal"))
        try:
            # Once more: a process that held the lock until now may have made it.
            check_new(path)
            _remove_unfinished(self.part)
            _remove_unfinished(path)
            found = self._journal.read() if self.part.exists() else None
            if found is None:
                self._begin(run, layout, num_bytes)
            else:
                check_same_run(found.run, run, self.part)
            self.written = Progress(0, 0) if found is None else found.written
            self._data = os.open(self.part, os.O_RDWR)
            # The lock is the journal's.
            self._datasets = h5py.File(str(self.part), "r", locking=False)
        except BaseException:
            self._journal.close()
            raise
        self._recorded = self.written
        self._recorded_at = time.monotonic()

    def write(self, key: str, array: np.ndarray, num_words: int) -> None:
        """Puts the next array, of `num_words` words, under `key`, where the layout has one of its shape, else NoPlaceError."""
        dataset = self._datasets.get(key)
        if dataset is None or dataset.shape != array.shape:
            raise NoPlaceError(
                f"{self.path}: no place for an array of shape {array.shape}: the text is not what it was"
            )
        if array.size:
            numbers = np.ascontiguousarray(array, dtype=self._dtype).reshape(-1)
            _write_all(self._data, numbers.view(np.uint8).data, dataset.id.get_offset())
        self.written = Progress(self.written.num_arrays + 1, self.written.num_words + num_words)
        if time.monotonic() - self._recorded_at >= _SECONDS_BETWEEN_RECORDS:
            self.record()

    def record(self) -> None:
        """Sees to it that what is written so far is on disk and need not be written again."""
        if self.written != self._recorded:
            os.fsync(self._data)
            self._journal.add(self.written)
            self._recorded = self.written
        self._recorded_at = time.monotonic()

    @contextmanager
    def finished(self) -> Iterator[Path]:
        """Gives the file that all arrays are in. When the block ends well, `path` must be there: the block has made it of the file
        in another format, or the file is renamed to it here. Then what was beside it is removed.
        """
        self.record()
        self._close()
        yield self.part
        if not self.path.exists():
            os.replace(self.part, self.path)
            flush_to_disk(self.path.parent)
        self.part.unlink(missing_ok=True)
        self._journal.remove()

    def discard(self) -> None:
        """Removes all that was written, for a run that cannot be gone on with."""
        self._close()
        self.part.unlink(missing_ok=True)
        self._journal.remove()

    def _begin(self, run: dict[str, Any], layout: Layout, num_bytes: int) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if free < num_bytes:
            raise InputError(
                f"cannot write `{self.path}`: it takes {num_bytes:,} bytes, and the disk has {free:,} free"
            )
        self._journal.clear()
        with atomic_path(self.part) as temporary:
            _create_datasets(temporary, layout)
        self._journal.begin(run)

    def _close(self) -> None:
        self._datasets.close()
        os.close(self._data)

    def __enter__(self) -> "ResumableHdf5Writer":
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        try:
            if self._datasets and kind is not None and issubclass(kind, KeyboardInterrupt):
                self.record()
        finally:
            if self._datasets:
                self._close()
            self._journal.close()


def check_new(path: Path) -> None:
    """Raises InputError where there is a file at `path`, or none can be made because its directory is missing. A symbolic link stands
    for what it points to.
    """
    if path.exists():
        raise InputError(f"cannot write `{path}`: it is there already; remove it first")
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise InputError(f"cannot write `{path}`: it is a symbolic link that leads back to itself")
    if not target.parent.is_dir():
        raise InputError(f"cannot write `{path}`: there is no directory `{target.parent}`")


def _remove_unfinished(path: Path) -> None:
    """What `atomic_path` left of `path` when its process was killed; whoever calls this holds the lock."""
    for temporary in path.parent.glob(f".{glob.escape(path.stem)}.*.tmp{glob.escape(path.suffix)}"):
        temporary.unlink(missing_ok=True)


def _create_datasets(path: Path, layout: Layout) -> None:
    dtype = h5py.h5t.py_create(_little_endian(layout))
    places = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    places.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    places.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(str(path), "w") as file:
        for key, shape in layout.shapes():
            space = h5py.h5s.create_simple(shape)
            h5py.h5d.create(file.id, key.encode("utf-8"), dtype, space, places)
        for key, text in layout.texts().items():
            file.create_dataset(key, (1,), dtype=h5py.string_dtype())[0] = text


def _little_endian(layout: Layout) -> np.dtype:
    return np.dtype(layout.dtype).newbyteorder("<")


def _write_all(descriptor: int, view: memoryview, offset: int) -> None:
    while view:
        count = os.pwrite(descriptor, view, offset)
        view = view[count:]
        offset += count
