"""One function over the shards of a corpus, each shard a task of a Dask cluster.

Dask is an extra (`pip install "allennlp_elmo_plus[dask]"`): nothing here is imported before a scheduler is named.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, Union

from allennlp_elmo_plus.data.text.text_files import resolve_paths
from allennlp_elmo_plus.errors import InputError

S = TypeVar("S")
R = TypeVar("R")

# In place of a scheduler's address: a cluster of processes on this machine, for as long as the work lasts.
LOCAL = "local"

_SECONDS_TO_CONNECT = 10


def shard_files(spec: Union[str, "os.PathLike[str]"]) -> list[Path]:
    """The files that `spec` names (see `data.text.text_files`), in the order they are read, each a shard, with their whole paths:
    a worker may
    have another working directory. Raises InputError for what is no file, and what `resolve_paths` raises.
    """
    sources = resolve_paths(spec)
    for source in sources:
        if not Path(source).is_file():
            raise InputError(f"`{os.fspath(spec)}`: shards must be files, got {source}")
    return [Path(source).absolute() for source in sources]


@contextmanager
def cluster(scheduler: str, num_processes: int = 1) -> Iterator["ShardRunner"]:
    """The cluster at `scheduler`, an address such as "tcp://host:8786", or with "local" one of `num_processes` processes of this
    machine, which ends with the block. Whatever is not done then is dropped.

    Workers elsewhere need this package, and the files that shards name. Raises InputError where Dask is missing or nothing
    answers at `scheduler`.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise InputError(
            f"`scheduler` {scheduler!r} needs Dask, which is not installed: pip install 'allennlp_elmo_plus[dask]'"
        ) from None
    if scheduler == LOCAL:
        # Without a dashboard: nobody was told its address.
        workers = LocalCluster(
            n_workers=num_processes, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL
        )
        with workers, Client(workers) as client:
            yield ShardRunner(client)
        return
    try:
        client = Client(scheduler, timeout=_SECONDS_TO_CONNECT)
    except (OSError, ValueError) as error:
        raise InputError(f"`scheduler` must be the address of a Dask scheduler, got {scheduler!r}: {error}") from None
    with client:
        yield ShardRunner(client)


class ShardRunner:
    """Runs functions over shards with a Dask client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def results(self, function: Callable[[S], R], shards: Sequence[S]) -> Iterator[tuple[int, R]]:
        """The place of a shard in `shards`, from 0, and what `function` returns of it, in the order in which they are done.

        A worker that dies costs the shards it was at, which others begin anew; a shard that kills one worker after the other
        ends the run with an InputError. What `function` raises is raised here. Either way no further shard is begun.
        """
        from distributed import KilledWorker, as_completed

        futures = self._client.map(function, shards, pure=False)
        places = {future.key: place for place, future in enumerate(futures)}
        try:
            for future in as_completed(futures):
                place = places[future.key]
                try:
                    yield place, future.result()
                except KilledWorker:
                    raise InputError(
                        f"{shards[place]}: every worker that took this shard was killed, perhaps for want of memory"
                    ) from None
        finally:
            self._client.cancel(futures)
