"""Report how much of a text has been read, for progress bars."""

import os
from collections.abc import Callable, Iterator
from typing import BinaryIO

from allennlp_elmo_plus.data.text.fasta import is_fasta
from allennlp_elmo_plus.data.text.text_files import TextSource, name_of

Report = Callable[[int], object]


def is_converted(source: TextSource) -> bool:
    """Return whether the bytes that `open_text` gives are others than those of the file `source`."""
    return name_of(source).endswith(".gz") or is_fasta(name_of(source))


def reported(blocks: Iterator[bytes], file: BinaryIO, source: TextSource, report: Report) -> Iterator[bytes]:
    """Yield `blocks` of the open `file`, and call `report` for each with the bytes of `source` that were read for it."""
    # Where bytes are converted, only the position in the file tells how many were read, and a pipe has none.
    has_position = is_converted(source) and os.path.isfile(source)
    position = 0
    for block in blocks:
        before = position
        position = os.lseek(file.fileno(), 0, os.SEEK_CUR) if has_position else position + len(block)
        report(position - before)
        yield block
