"""A text to embed into a file, progress bars, and the files that a run writes."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

LINES = [
    "the river rises .",
    "  and\tthe mill  turns ",
    "",
    "나비 🙂",
    "the river rises .",
    "a",
    "every mill has a wheel that turns",
]
TEXT = "".join(line + "\n" for line in LINES)


@contextmanager
def no_progress(*_: Any) -> Iterator[Callable[[int], None]]:
    yield lambda steps: None


class Interrupted(Exception):
    pass


def interrupt_after(num_sentences: int) -> Callable[..., AbstractContextManager[Callable[[int], None]]]:
    """Return a progress bar that raises Interrupted at the sentence of this number."""

    @contextmanager
    def progress(*_: Any) -> Iterator[Callable[[int], None]]:
        calls = []

        def advance(steps: int) -> None:
            calls.append(steps)
            if len(calls) == num_sentences:
                raise Interrupted

        yield advance

    return progress


def output_files(directory: Path) -> set[str]:
    """Return the names of the files in `directory` without text.txt."""
    return {path.name for path in directory.iterdir()} - {"text.txt"}


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {key: dataset[...] for key, dataset in file.items()}
