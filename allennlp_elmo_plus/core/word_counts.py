"""
How often each word of a text occurs, counted by several processes.

Plain files are cut into ranges of whole lines, one for each process, so that one large file is shared too; a compressed file is
one process's. Memory grows with the number of distinct words, not with the text.
"""

import multiprocessing
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, Optional, Union

from .errors import InputError
from .text import (
    STANDARD_INPUT,
    check_encoding_errors,
    decode_block,
    iter_sentence_blocks,
    line_blocks,
    open_text,
    resolve_paths,
)

# Below this a further process takes longer to start than it saves.
BYTES_WORTH_A_PROCESS = 1 << 24


class _Part(NamedTuple):
    """The lines of a file between two offsets; all of it where `end` is None."""

    path: Union[Path, str]
    start: int
    end: Optional[int]


def count_words(
    spec: Union[str, "os.PathLike[str]"], encoding_errors: str = "strict", num_processes: int = 1
) -> Counter[str]:
    """
    The words of the text that `spec` names (see `core.text`) and how often each occurs, by at most `num_processes` processes.

    Raises what `core.text.iter_sentences` raises, and `ValueError` for a `num_processes` below 1.
    """
    if num_processes < 1:
        raise ValueError(f"`num_processes` must be at least 1, got {num_processes}")
    check_encoding_errors(encoding_errors)
    parts = [part for path in resolve_paths(spec) for part in _parts(path, num_processes)]
    count = partial(_count_part, encoding_errors=encoding_errors)
    counts: Counter[str] = Counter()
    if num_processes == 1 or len(parts) == 1:
        for part in parts:
            counts.update(count(part))
    else:
        # Not forked: a copy of a process whose other threads hold locks may wait for them for ever.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(num_processes, len(parts)), mp_context=context) as pool:
            try:
                for counted in pool.map(count, parts):
                    counts.update(counted)
            except InputError:
                # A part does not know how many lines come before it. From the beginning, the error has its line.
                for _ in iter_sentence_blocks(spec, encoding_errors):
                    pass
                raise
    if not counts:
        raise InputError(f"`{os.fspath(spec)}`: there is not one word in this text")
    return counts


def _parts(path: Union[Path, str], num_processes: int) -> list[_Part]:
    """`path` in parts of about equal size, each of whole lines."""
    if path == STANDARD_INPUT or str(path).endswith(".gz") or not os.path.isfile(path):
        return [_Part(path, 0, None)]
    size = os.path.getsize(path)
    num_parts = max(1, min(num_processes, size // BYTES_WORTH_A_PROCESS))
    cuts = [0]
    with open_text(path, str(path)) as file:
        for number in range(1, num_parts):
            file.seek(size * number // num_parts)
            file.readline()
            cuts.append(file.tell())
    return [_Part(path, start, end) for start, end in zip(cuts, [*cuts[1:], None], strict=True)]


def _count_part(part: _Part, encoding_errors: str) -> Counter[str]:
    name = "standard input" if part.path == STANDARD_INPUT else str(part.path)
    counts: Counter[str] = Counter()
    num_lines = 0
    with open_text(part.path, name) as file:
        if part.start:
            file.seek(part.start)
        for data in line_blocks(file, name, None if part.end is None else part.end - part.start):
            counts.update(decode_block(data, name, num_lines + 1, encoding_errors).split())
            num_lines += data.count(b"\n")
    return counts
