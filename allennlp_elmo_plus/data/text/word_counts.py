"""Count the words of a text in several processes.

A plain file is split into ranges of whole lines, one per process; a compressed file is read by one process. Memory grows with the number
of distinct words, not with the length of the text.
"""

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from typing import Any, NamedTuple, Optional, Union

from allennlp_elmo_plus.data.text.bytes_read import Report, is_converted, reported
from allennlp_elmo_plus.data.text.text_files import (
    MAX_LINE_BYTES,
    TextSource,
    check_encoding_errors,
    decode_block,
    first_lines,
    line_blocks,
    name_of,
    open_text,
    resolve_paths,
)
from allennlp_elmo_plus.errors import InputError, check_at_least

# With fewer bytes, another process takes longer to start than it saves.
MIN_BYTES_PER_PROCESS = 1 << 24

_SECONDS_BETWEEN_REPORTS = 0.5


class _Part(NamedTuple):
    """The lines of a file from byte `start` to byte `end`, or to the end of the file."""

    path: TextSource
    start: int
    end: Optional[int]


def count_words(
    spec: Union[str, "os.PathLike[str]"],
    encoding_errors: str = "strict",
    num_processes: int = 1,
    report: Report = lambda num_bytes: None,
) -> Counter[str]:
    """Return the number of occurrences of each word of a text.

    Args:
        spec: As for `data.text.text_files.iter_sentences`.
        encoding_errors: As for `data.text.text_files.iter_sentences`.
        num_processes: The maximum number of processes.
        report: Called repeatedly with the number of bytes read since the last call.

    Raises:
        InputError: `num_processes` is below 1, or as in `data.text.text_files.iter_sentences`.
    """
    check_at_least(1, num_processes=num_processes)
    check_encoding_errors(encoding_errors)
    paths = resolve_paths(spec)
    files = [path for path in paths if os.path.isfile(path)]
    parts = [part for path in files for part in _parts(path, num_processes)]
    counts: Counter[str] = Counter()
    # Standard input and pipes are open in this process only.
    local_parts = [_Part(path, 0, None) for path in paths if not os.path.isfile(path)]
    if num_processes == 1 or len(parts) == 1:
        local_parts += parts
        parts = []
    for part in local_parts:
        counts.update(_count_part(part, encoding_errors, report))
    if parts:
        try:
            for part_counts in _count_in_processes(parts, encoding_errors, num_processes, report):
                counts.update(part_counts)
        except InputError:
            # A part starts at an unknown line number. Reading from the beginning gives the error its line number.
            for path in files:
                _count_part(_Part(path, 0, None), encoding_errors)
            raise
    if not counts:
        raise InputError(f"`{os.fspath(spec)}`: there is not one word in this text")
    return counts


def num_bytes_to_read(spec: Union[str, "os.PathLike[str]"]) -> Optional[int]:
    """Return the sum of the numbers that `count_words` reports, or None where it is unknown, as for standard input."""
    paths = resolve_paths(spec)
    return sum(map(os.path.getsize, paths)) if all(map(os.path.isfile, paths)) else None


def _count_in_processes(
    parts: Sequence[_Part], encoding_errors: str, num_processes: int, report: Report
) -> Iterator[Counter[str]]:
    """Yield the counts of each part, as they are finished. After an error the processes stop soon."""
    # A forked process could wait forever for a lock that another thread held at the fork.
    context = multiprocessing.get_context("spawn")
    bytes_read, stop = context.Value("q", 0), context.Event()
    with ProcessPoolExecutor(
        min(num_processes, len(parts)), context, initializer=_start_worker, initargs=(bytes_read, stop)
    ) as pool:
        try:
            pending = {pool.submit(_count_part, part, encoding_errors, _report_from_worker) for part in parts}
            reported = 0
            while pending:
                done, pending = wait(pending, _SECONDS_BETWEEN_REPORTS, FIRST_COMPLETED)
                total = bytes_read.value
                report(total - reported)
                reported = total
                for future in done:
                    yield future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _Stopped(Exception):
    """Ends the count of a worker whose result is no longer needed."""


_worker: dict[str, Any] = {}


def _start_worker(bytes_read: Any, stop: Any) -> None:
    # Ctrl-C sends the signal to all processes of the terminal; only the parent process handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker.update(bytes_read=bytes_read, stop=stop)


def _report_from_worker(num_bytes: int) -> None:
    with _worker["bytes_read"].get_lock():
        _worker["bytes_read"].value += num_bytes
    if _worker["stop"].is_set():
        raise _Stopped


def _parts(path: TextSource, num_processes: int) -> list[_Part]:
    """Return the parts of the file `path`, of whole lines and about equal size."""
    if is_converted(path):
        return [_Part(path, 0, None)]
    size = os.path.getsize(path)
    num_parts = max(1, min(num_processes, size // MIN_BYTES_PER_PROCESS))
    starts = [0]
    with open_text(path) as file:
        for number in range(1, num_parts):
            file.seek(size * number // num_parts)
            # Of a line that is too long the rest begins the part: the part before is refused, as it ends in that line.
            file.readline(MAX_LINE_BYTES + 1)
            starts.append(file.tell())
    return [_Part(path, start, end) for start, end in zip(starts, [*starts[1:], None], strict=True)]


def _count_part(part: _Part, encoding_errors: str, report: Report = lambda num_bytes: None) -> Counter[str]:
    name = name_of(part.path)
    counts: Counter[str] = Counter()
    num_lines = 0
    with open_text(part.path) as file:
        if part.start:
            file.seek(part.start)
        blocks = line_blocks(file, name, None if part.end is None else part.end - part.start)
        for data in reported(blocks, file, part.path, report):
            text = first_lines(data, name) if part.start == num_lines == 0 else data
            counts.update(decode_block(text, name, num_lines + 1, encoding_errors).split())
            num_lines += data.count(b"\n")
    return counts
