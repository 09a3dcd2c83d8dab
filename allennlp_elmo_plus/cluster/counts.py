"""How often each word of a corpus occurs, counted shard by shard, each of its files one, by the processes of a cluster."""

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Union

from allennlp_elmo_plus.cluster.shards import ShardRunner, shard_files
from allennlp_elmo_plus.data.text.word_counts import count_words
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.storage.atomic_files import atomic_path


def sharded_counts(
    spec: Union[str, "os.PathLike[str]"],
    directory: Union[str, "os.PathLike[str]"],
    runner: ShardRunner,
    report: Callable[[int], object],
    encoding_errors: str = "strict",
) -> Counter[str]:
    """`count_words`, and the same counts, with each file that `spec` names counted by a worker of `runner`, for which `directory`
    and the files must lie where they do for the caller. `report` is called with the bytes of each shard done.

    Counts of shards that are done are kept in `directory` until `remove_counts`: a run that was broken off counts only the
    others, and those that changed. A shard without a word is refused, other than among the files of one process. Else raises what
    `count_words` raises.
    """
    sources = shard_files(spec)
    Path(directory).mkdir(parents=True, exist_ok=True)
    count_one = partial(_count_shard, directory=Path(directory), encoding_errors=encoding_errors)
    counts: Counter[str] = Counter()
    for place, path in runner.results(count_one, sources):
        counts.update(_read(path))
        report(os.path.getsize(sources[place]))
    return counts


def remove_counts(directory: Union[str, "os.PathLike[str]"]) -> None:
    """Removes what `sharded_counts` kept in `directory`."""
    shutil.rmtree(directory, ignore_errors=True)


def _count_shard(source: Path, directory: Path, encoding_errors: str) -> Path:
    status = os.stat(source)
    described = f"{source}\0{status.st_size}\0{status.st_mtime_ns}\0{encoding_errors}"
    name = hashlib.blake2b(described.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    path = directory / f"{name}.counts"
    if not path.exists():
        counts = count_words(source, encoding_errors)
        after = os.stat(source)
        if (after.st_size, after.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
            raise InputError(f"{source}: the text changed while it was being read")
        with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{word} {count}\n" for word, count in counts.items())
    return path


def _read(path: Path) -> dict[str, int]:
    # Words hold no white space, but may hold what other ways of reading lines end a line at.
    with open(path, encoding="utf-8", newline="\n") as file:
        return {word: int(count) for word, count in (line.split(" ") for line in file)}
