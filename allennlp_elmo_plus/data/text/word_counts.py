"""How often each word of a text occurs, counted by several processes.

Plain files are cut into ranges of whole lines, one for each process, so that one large file is shared too; a compressed file is
one process's. Memory grows with the number of distinct words, not with the text.
"""

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from typing import Any, NamedTuple, Optional, Union

from allennlp_elmo_plus.data.text.fasta import is_fasta
from allennlp_elmo_plus.data.text.text_files import (
    TextSource,
    check_encoding_errors,
    decode_block,
    first_lines,
    line_blocks,
    name_of,
    open_text,
    resolve_paths,
)
from allennlp_elmo_plus.errors import InputError

# Below this a further process takes longer to start than it saves.
BYTES_WORTH_A_PROCESS = 1 << 24

_SECONDS_BETWEEN_REPORTS = 0.5

Report = Callable[[int], None]


class _Part(NamedTuple):
    """The lines of a file between two offsets; all of it where `end` is None."""

    path: TextSource
    start: int
    end: Optional[int]


def count_words(
    spec: Union[str, "os.PathLike[str]"],
    encoding_errors: str = "strict",
    num_processes: int = 1,
    report: Optional[Report] = None,
) -> Counter[str]:
    """The words of the text that `spec` names (see `data.text.text_files`) and how often each occurs, by at most `num_processes`
    processes.
    `report` is called now and then with how many bytes of the files were read since the last call.

    Raises what `data.text.text_files.iter_sentences` raises, and `ValueError` for a `num_processes` below 1.
    """
    if num_processes < 1:
        raise ValueError(f"`num_processes` must be at least 1, got {num_processes}")
    check_encoding_errors(encoding_errors)
    report = report or _no_report
    paths = resolve_paths(spec)
    files = [path for path in paths if os.path.isfile(path)]
    parts = [part for path in files for part in _parts(path, num_processes)]
    counts: Counter[str] = Counter()
    # Standard input and pipes are open in this process only.
    here = [_Part(path, 0, None) for path in paths if not os.path.isfile(path)]
    if num_processes == 1 or len(parts) == 1:
        here += parts
        parts = []
    for part in here:
        counts.update(_count_part(part, encoding_errors, report))
    if parts:
        try:
            for counted in _counted_side_by_side(parts, encoding_errors, num_processes, report):
                counts.update(counted)
        except InputError:
            # A part does not know how many lines come before it. From the beginning, the error has its line.
            for path in files:
                _count_part(_Part(path, 0, None), encoding_errors)
            raise
    if not counts:
        raise InputError(f"`{os.fspath(spec)}`: there is not one word in this text")
    return counts


def num_bytes_to_read(spec: Union[str, "os.PathLike[str]"]) -> Optional[int]:
    """What the reports of `count_words` add up to; None where that shows only in the end, as with standard input."""
    paths = resolve_paths(spec)
    return sum(map(os.path.getsize, paths)) if all(map(os.path.isfile, paths)) else None


def _no_report(num_bytes: int) -> None:
    pass


def _counted_side_by_side(
    parts: Sequence[_Part], encoding_errors: str, num_processes: int, report: Report
) -> Iterator[Counter[str]]:
    """The words of each part, as they come; where this raises, the processes stop soon."""
    # Not forked: a copy of a process whose other threads hold locks may wait for them for ever.
    context = multiprocessing.get_context("spawn")
    bytes_read, stop = context.Value("q", 0), context.Event()
    with ProcessPoolExecutor(
        min(num_processes, len(parts)), context, initializer=_start_worker, initargs=(bytes_read, stop)
    ) as pool:
        try:
            pending = {pool.submit(_count_in_worker, part, encoding_errors) for part in parts}
            reported = 0
            while pending:
                done, pending = wait(pending, _SECONDS_BETWEEN_REPORTS, FIRST_COMPLETED)
                now_read = bytes_read.value
                report(now_read - reported)
                reported = now_read
                for future in done:
                    yield future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _Stopped(Exception):
    """In a worker: nobody waits for its result any more."""


_worker: dict[str, Any] = {}


def _start_worker(bytes_read: Any, stop: Any) -> None:
    # An interrupt reaches all processes of a terminal; the one that the user started says what is to happen.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker.update(bytes_read=bytes_read, stop=stop)


def _count_in_worker(part: _Part, encoding_errors: str) -> Counter[str]:
    return _count_part(part, encoding_errors, _report_from_worker)


def _report_from_worker(num_bytes: int) -> None:
    with _worker["bytes_read"].get_lock():
        _worker["bytes_read"].value += num_bytes
    if _worker["stop"].is_set():
        raise _Stopped


def _parts(path: TextSource, num_processes: int) -> list[_Part]:
    """The file `path` in parts of about equal size, each of whole lines."""
    if _is_converted(str(path)):
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


def _count_part(part: _Part, encoding_errors: str, report: Report = _no_report) -> Counter[str]:
    name = name_of(part.path)
    counts: Counter[str] = Counter()
    num_lines = file_bytes = 0
    with open_text(part.path, name) as file:
        if part.start:
            file.seek(part.start)
        for data in line_blocks(file, name, None if part.end is None else part.end - part.start):
            text = first_lines(data, name) if part.start == num_lines == 0 else data
            counts.update(decode_block(text, name, num_lines + 1, encoding_errors).split())
            num_lines += data.count(b"\n")
            if _is_converted(name):
                before, file_bytes = file_bytes, os.lseek(file.fileno(), 0, os.SEEK_CUR)
                report(file_bytes - before)
            else:
                report(len(data))
    return counts


def _is_converted(name: str) -> bool:
    """Return whether the bytes that are read are others than those of the file `name`."""
    return name.endswith(".gz") or is_fasta(name)
