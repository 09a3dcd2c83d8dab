"""Run a function over the shards of a corpus on a Dask cluster, one task per shard. A shard is one file.

Dask is an extra, `pip install "allennlp_elmo_plus[dask]"`. It is imported in `open_cluster`, not with this module.
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

# Instead of a scheduler's address: start processes on this machine, and stop them when the work is done.
LOCAL = "local"

_CONNECT_TIMEOUT_SECONDS = 10


def shard_files(spec: Union[str, "os.PathLike[str]"]) -> list[Path]:
    """Return the files that `spec` names (see `data.text.text_files`), in reading order, one per shard.

    The paths are absolute, as a worker may have another working directory.

    Raises:
        InputError: a path is not a file, or `resolve_paths` refuses `spec`.
    """
    sources = resolve_paths(spec)
    for source in sources:
        if not Path(source).is_file():
            raise InputError(f"`{os.fspath(spec)}`: shards must be files, got {source}")
    return [Path(source).absolute() for source in sources]


@contextmanager
def open_cluster(scheduler: str, num_processes: int = 1) -> Iterator["ShardRunner"]:
    """Yield a runner on a Dask cluster. Tasks that are not done at the end of the block are cancelled.

    Workers on other machines need this package, and the files of the shards under the same paths.

    Args:
        scheduler: the address of a scheduler, such as "tcp://host:8786"; or "local", which starts processes on this machine
            and stops them at the end of the block.
        num_processes: the number of these processes.

    Raises:
        InputError: Dask is not installed, or no scheduler answers at `scheduler`.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise InputError(
            f"`scheduler` {scheduler!r} needs Dask, which is not installed: pip install 'allennlp_elmo_plus[dask]'"
        ) from None
    if scheduler == LOCAL:
        # Without a dashboard, whose address no user would know.
        workers = LocalCluster(
            n_workers=num_processes, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL
        )
        with workers, Client(workers) as client:
            yield ShardRunner(client)
        return
    try:
        client = Client(scheduler, timeout=_CONNECT_TIMEOUT_SECONDS)
    except (OSError, ValueError) as error:
        raise InputError(f"`scheduler` must be the address of a Dask scheduler, got {scheduler!r}: {error}") from None
    with client:
        yield ShardRunner(client)


class ShardRunner:
    """Runs functions over shards with a Dask client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, function: Callable[[S], R], shards: Sequence[S]) -> Iterator[tuple[int, R]]:
        """Yield the index of each shard in `shards` and the result of `function`, in the order in which they finish.

        When a worker dies, other workers restart its current shards. After an error no further shard is started.

        Raises:
            InputError: a shard has killed several workers. Errors of `function` are raised too.
        """
        from distributed import KilledWorker, as_completed

        futures = self._client.map(function, shards, pure=False)
        indices = {future.key: index for index, future in enumerate(futures)}
        try:
            for future in as_completed(futures):
                index = indices[future.key]
                try:
                    yield index, future.result()
                except KilledWorker:
                    raise InputError(
                        f"{shards[index]}: every worker that ran this shard was killed, perhaps because it ran out of memory"
                    ) from None
        finally:
            self._client.cancel(futures)
