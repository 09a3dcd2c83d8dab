"""Count the words of a corpus on a cluster, one task per file."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Union

from allennlp_elmo_plus.cluster.shards import ShardRunner, shard_files
from allennlp_elmo_plus.data.text.word_counts import count_words
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.storage.atomic_files import atomic_path

_DIGEST_SIZE = 16


def count_shards(
    spec: Union[str, "os.PathLike[str]"],
    directory: Union[str, "os.PathLike[str]"],
    runner: ShardRunner,
    report: Callable[[int], object],
    encoding_errors: str = "strict",
) -> Counter[str]:
    """Return the counts that `count_words` returns, computed by the workers of `runner`, one file each.

    The counts of finished shards are kept in `directory` until it is removed: after an interruption only the other shards,
    and changed ones, are counted. Each file of `spec` must have at least one word. `directory` must be the same for all workers.
    `report` is called with the size of each finished shard, in bytes.

    Raises:
        InputError: `count_words` or `shard_files` refuses a file, or a file changes while it is read.
    """
    sources = shard_files(spec)
    Path(directory).mkdir(parents=True, exist_ok=True)
    count_one = partial(_count_shard, directory=Path(directory), encoding_errors=encoding_errors)
    counts: Counter[str] = Counter()
    for index, path in runner.run(count_one, sources):
        counts.update(_read_counts(path))
        report(os.path.getsize(sources[index]))
    return counts


def remove_counts(directory: Path) -> None:
    """Remove the files of `count_shards` from `directory`, and `directory` unless other files are there."""
    for path in directory.glob(f"{'[0-9a-f]' * 2 * _DIGEST_SIZE}.counts"):
        path.unlink()
    with suppress(OSError):
        directory.rmdir()


def _count_shard(source: Path, directory: Path, encoding_errors: str) -> Path:
    status = os.stat(source)
    described = f"{source}\0{status.st_size}\0{status.st_mtime_ns}\0{encoding_errors}"
    name = hashlib.blake2b(described.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_SIZE).hexdigest()
    path = directory / f"{name}.counts"
    if not path.exists():
        counts = count_words(source, encoding_errors)
        after = os.stat(source)
        if (after.st_size, after.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
            raise InputError(f"{source}: the text changed while it was being read")
        with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{word} {count}\n" for word, count in counts.items())
    return path


def _read_counts(path: Path) -> dict[str, int]:
    # Words have no white space, but may have characters at which `str.splitlines` ends a line. So read up to newlines only.
    with open(path, encoding="utf-8", newline="\n") as file:
        return {word: int(count) for word, count in (line.split(" ") for line in file)}
