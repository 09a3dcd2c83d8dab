"""Write an HDF5 file with one array per sentence, so that a killed run leaves a file that can be resumed.

When HDF5 adds a dataset, it changes several parts of the file in place; if the process is killed meanwhile, the file may be
unreadable. Here all datasets are created, and get their space in the file, before the first array is computed. The file is
closed, flushed to disk and renamed to `NAME.part`. Then HDF5 does not write to the file any more: the bytes of each array are
written directly to the space of its dataset, so that writing them again after a kill is harmless.

The first line of the journal `NAME.part.journal` describes the run, each further line the arrays that are on disk: see
`storage/progress_journal.py`.
"""

import glob
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Optional

import h5py
import numpy as np

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.storage.atomic_files import atomic_path, flush_to_disk, remove_unfinished
from allennlp_elmo_plus.storage.progress_journal import ProgressJournal, check_same_run

_SECONDS_BETWEEN_RECORDS = 10.0


class LayoutError(InputError):
    """An array does not belong to the layout of the file."""


class Progress(NamedTuple):
    """How much of the output is on disk."""

    num_arrays: int
    num_words: int  # in these arrays


class Layout(NamedTuple):
    """The datasets of the file."""

    shapes: Callable[[], Iterable[tuple[str, tuple[int, ...]]]]  # key and shape of each array, in order
    texts: Callable[[], dict[str, str]]  # key and content of each text; called when `shapes` has been read to its end
    dtype: str = "float32"  # the type of all arrays, float32 or float16


class ResumableHdf5Writer:
    """Write arrays of numbers to `path` + ".part", which becomes `path` when all are written.

    A symbolic link at `path` is followed: the file that it points to is written.

    Attributes:
        written: The progress so far; arrays of an earlier run are included.

    Args:
        path: The file to write, which must not exist.
        run: The description of the run; an unfinished file of another run is refused.
        layout: The datasets.
        num_bytes: The size of all arrays.

    Raises:
        InputError: `path` exists, its directory is missing, another process writes the file, it was begun for another run, or
            the disk has not enough space. Nothing is written then.
    """

    def __init__(self, path: Path, run: dict[str, Any], layout: Layout, num_bytes: int) -> None:
        check_new(path)
        self.path = path = Path(os.path.realpath(path))
        self.part = path.with_name(f"{path.name}.part")
        self._dtype = _little_endian(layout)
        self._journal = ProgressJournal(path.with_name(f"{path.name}.part.journal"))
        try:
            # Again: another process may have finished the file before this one got the lock.
            check_new(path)
            for unfinished in (self.part, path):
                remove_unfinished(path.parent, glob.escape(unfinished.suffix), glob.escape(unfinished.stem))
            lines = self._journal.read() if self.part.exists() else []
            if lines:
                check_same_run(lines[0], run, self.part)
            else:
                self._begin(run, layout, num_bytes)
            self.written = Progress(**lines[-1]) if len(lines) > 1 else Progress(0, 0)
            self._data = os.open(self.part, os.O_RDWR)
            # The lock of the journal protects this file too.
            self._datasets = h5py.File(str(self.part), "r", locking=False)
        except BaseException:
            self._journal.close()
            raise
        self._recorded = self.written
        self._recorded_at = time.monotonic()

    def write(self, key: str, array: np.ndarray, num_words: int) -> None:
        """Write `array`, of `num_words` words, to the dataset `key`.

        Raises:
            LayoutError: The file has no dataset `key`, or one of another shape.
            InputError: A number of `array` is too large for the file's type.
        """
        dataset = self._datasets.get(key)
        if dataset is None or dataset.shape != array.shape:
            raise LayoutError(f"{self.path}: no dataset for an array of shape {array.shape}: the text has changed")
        if array.size:
            with np.errstate(over="ignore"):
                numbers = np.ascontiguousarray(array, dtype=self._dtype).reshape(-1)
            if not np.isfinite(numbers).all() and np.isfinite(array).all():
                raise InputError(f"cannot write `{self.path}`: a number is too large for {self._dtype.name}")
            _write_all(self._data, numbers.view(np.uint8).data, dataset.id.get_offset())
        self.written = Progress(self.written.num_arrays + 1, self.written.num_words + num_words)
        if time.monotonic() - self._recorded_at >= _SECONDS_BETWEEN_RECORDS:
            self.record()

    def record(self) -> None:
        """Flush all arrays so far to disk, and record them in the journal."""
        if self.written != self._recorded:
            os.fsync(self._data)
            self._journal.add(self.written._asdict())
            self._recorded = self.written
        self._recorded_at = time.monotonic()

    @contextmanager
    def finished(self, is_converted: bool) -> Iterator[Path]:
        """Yield the path of the unfinished file, which has all arrays, and rename it to `path` when the block ends.

        Args:
            is_converted: Whether the block creates `path`, in another format; the unfinished file is then removed instead.

        Raises:
            InputError: Another program has created `path` meanwhile. The unfinished file is kept.
        """
        self.record()
        self._close()
        check_new(self.path)
        yield self.part
        if not is_converted:
            check_new(self.path)
            os.replace(self.part, self.path)
            flush_to_disk(self.path.parent)
        self.part.unlink(missing_ok=True)
        self._journal.remove()

    def discard(self) -> None:
        """Remove the unfinished file and the journal."""
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
        self._journal.add(run)

    def _close(self) -> None:
        self._datasets.close()
        os.close(self._data)

    def __enter__(self) -> "ResumableHdf5Writer":
        return self

    def __exit__(self, kind: Optional[type[BaseException]], *_: object) -> None:
        try:
            if self._datasets and kind is not None and issubclass(kind, KeyboardInterrupt):
                self.record()
        finally:
            if self._datasets:
                self._close()
            self._journal.close()


def check_new(path: Path) -> None:
    """Check that a file can be created at `path`, or where the symbolic link `path` points to.

    Raises:
        InputError: The file exists, or its directory is missing.
    """
    if path.exists():
        raise InputError(f"cannot write `{path}`: it is there already; name another file, or remove it first")
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise InputError(f"cannot write `{path}`: it is a symbolic link that leads back to itself")
    if not target.parent.is_dir():
        raise InputError(f"cannot write `{path}`: there is no directory `{target.parent}`")


def _create_datasets(path: Path, layout: Layout) -> None:
    dtype = h5py.h5t.py_create(_little_endian(layout))
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(str(path), "w") as file:
        for key, shape in layout.shapes():
            space = h5py.h5s.create_simple(shape)
            h5py.h5d.create(file.id, key.encode("utf-8"), dtype, space, properties)
        for key, text in layout.texts().items():
            file.create_dataset(key, (1,), dtype=h5py.string_dtype())[0] = text


def _little_endian(layout: Layout) -> np.dtype:
    return np.dtype(layout.dtype).newbyteorder("<")


def _write_all(descriptor: int, view: memoryview, offset: int) -> None:
    while view:
        count = os.pwrite(descriptor, view, offset)
        view = view[count:]
        offset += count
