"""Write a training text and a held-out text from raw text: one sentence per line, each document once."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, Optional, TextIO, Union

from allennlp_elmo_plus.data.text.raw.documents import Document
from allennlp_elmo_plus.data.text.raw.segmentation import Segmenter
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.storage.atomic_files import atomic_path

TRAIN_FILE = "train.txt"
HELDOUT_FILE = "heldout.txt"

# Documents of about as many characters are one task of a process. That takes about a second.
_BATCH_CHARACTERS = 1 << 20


@dataclass
class PartCounts:
    """The size of the training text or of the held-out text."""

    num_documents: int = 0
    num_sentences: int = 0
    num_words: int = 0


@dataclass
class PreparationCounts:
    """What was read and what was written."""

    num_documents: int = 0
    num_duplicates: int = 0
    num_empty: int = 0
    train: PartCounts = field(default_factory=PartCounts)
    heldout: PartCounts = field(default_factory=PartCounts)


class _Batch(NamedTuple):
    """Documents, and whether each of them is held out."""

    documents: list[Document]
    are_held_out: list[bool]


def digest_of(text: str) -> int:
    """Return a hash of `text` with 64 bits, the same on every machine."""
    return int.from_bytes(blake2b(text.encode("utf-8"), digest_size=8).digest(), "big")


def is_held_out(digest: int, percent: float) -> bool:
    """Return True for `percent` of all values of `digest_of`."""
    return digest < percent / 100 * 2**64


def prepare(
    documents: Iterable[Document],
    directory: Union[str, "os.PathLike[str]"],
    language: Optional[str],
    heldout_percent: float = 5.0,
    overwrite: bool = False,
    num_processes: int = 1,
) -> PreparationCounts:
    """Write the sentences of `documents` to `train.txt` and `heldout.txt` in `directory`.

    A document is left out if an earlier one has the same words. Repeated sentences of different documents stay, because how often a
    sentence occurs is a property of the language. The hash of a document decides whether it is held out, so neither the order of
    the documents nor other documents change that.

    Args:
        documents: As `iter_documents` yields them.
        directory: The directory to write to. It is created if it is missing.
        language: As for `Segmenter`.
        heldout_percent: The share of the documents that is held out, above 0 and below 100.
        overwrite: Replace existing files.
        num_processes: The number of processes that split the text into sentences.

    Returns:
        What was read and what was written.

    Raises:
        InputError: An argument is not valid, a file exists, or one of the two texts would have no sentence; nothing is written then.
    """
    if not 0 < heldout_percent < 100:
        raise InputError(f"`--heldout-percent` must be above 0 and below 100, got {heldout_percent:g}")
    train_path, heldout_path = Path(directory, TRAIN_FILE), Path(directory, HELDOUT_FILE)
    for path in (train_path, heldout_path):
        if path.exists() and not overwrite:
            raise InputError(f"{path} exists already: choose another directory, or replace it with `--overwrite`")
    segmenter = Segmenter(language)
    Path(directory).mkdir(parents=True, exist_ok=True)
    counts = PreparationCounts()
    batches = _batches(documents, counts, heldout_percent)
    with (
        atomic_path(train_path) as train_temporary,
        atomic_path(heldout_path) as heldout_temporary,
        open(train_temporary, "w", encoding="utf-8", newline="\n") as train_file,
        open(heldout_temporary, "w", encoding="utf-8", newline="\n") as heldout_file,
    ):
        for batch, sentences in _split_batches(batches, segmenter, language, num_processes):
            for lines, held_out in zip(sentences, batch.are_held_out, strict=True):
                _write(lines, *((heldout_file, counts.heldout) if held_out else (train_file, counts.train)))
        _check_counts(counts, heldout_percent)
    return counts


def _batches(documents: Iterable[Document], counts: PreparationCounts, heldout_percent: float) -> Iterator[_Batch]:
    """Yield the documents that have a word and are not duplicates, in batches."""
    seen: set[int] = set()
    batch, num_characters = _Batch([], []), 0
    for document in documents:
        counts.num_documents += 1
        if not document:
            counts.num_empty += 1
            continue
        text = " ".join(document)
        digest = digest_of(text)
        if digest in seen:
            counts.num_duplicates += 1
            continue
        seen.add(digest)
        batch.documents.append(document)
        batch.are_held_out.append(is_held_out(digest, heldout_percent))
        num_characters += len(text)
        if num_characters >= _BATCH_CHARACTERS:
            yield batch
            batch, num_characters = _Batch([], []), 0
    if batch.documents:
        yield batch


def _write(lines: list[str], file: TextIO, counts: PartCounts) -> None:
    file.writelines(f"{line}\n" for line in lines)
    counts.num_documents += 1
    counts.num_sentences += len(lines)
    counts.num_words += sum(line.count(" ") + 1 for line in lines)


def _check_counts(counts: PreparationCounts, heldout_percent: float) -> None:
    num_documents = counts.train.num_documents + counts.heldout.num_documents
    if num_documents == 0:
        raise InputError("the raw text must have at least one word, got none")
    for name, part in ((TRAIN_FILE, counts.train), (HELDOUT_FILE, counts.heldout)):
        if part.num_documents == 0:
            raise InputError(
                f"{name} would be empty with `--heldout-percent` {heldout_percent:g}: the raw text must have more documents, got "
                f"{num_documents:,}; if each line of plain text is a document, use `--paragraph-per-line`"
            )


def _split_batches(
    batches: Iterator[_Batch], segmenter: Segmenter, language: Optional[str], num_processes: int
) -> Iterator[tuple[_Batch, list[list[str]]]]:
    """Yield each batch with the sentences of its documents, in order."""
    if num_processes == 1:
        for batch in batches:
            yield batch, segmenter.split(batch.documents)
        return
    # A forked process could wait forever for a lock that another thread held at the fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_processes, context, initializer=_start_worker, initargs=(language,)) as pool:
        pending: deque[tuple[_Batch, Future[list[list[str]]]]] = deque()
        try:
            for batch in batches:
                pending.append((batch, pool.submit(_split_in_worker, batch.documents)))
                # Each process has one batch in work and one that waits.
                if len(pending) > 2 * num_processes:
                    first, future = pending.popleft()
                    yield first, future.result()
            for first, future in pending:
                yield first, future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_worker: list[Segmenter] = []


def _start_worker(language: Optional[str]) -> None:
    # Ctrl-C sends the signal to all processes of the terminal; only the parent process handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker.append(Segmenter(language))


def _split_in_worker(documents: list[Document]) -> list[list[str]]:
    return _worker[0].split(documents)
