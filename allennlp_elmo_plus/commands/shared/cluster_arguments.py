"""The arguments of commands that can work on the files of a text with a Dask cluster."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from allennlp_elmo_plus.cluster.shards import LOCAL, ShardRunner, open_cluster
from allennlp_elmo_plus.commands.shared.command_line import UsageError, integer_from, progress_bar
from allennlp_elmo_plus.data.text.word_counts import num_bytes_to_read
from allennlp_elmo_plus.kernels.processor import num_usable_cores


def add_cluster_arguments(
    parser: argparse.ArgumentParser,
    processes_help: str = "the number of processes for `--scheduler local` (default: one per core)",
) -> None:
    """Add `--scheduler` and `--processes` to `parser`."""
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="the address of a Dask cluster whose workers share the files of the text, or `local` for processes on this machine; "
        "after an interruption, the same command computes only the files that are missing",
    )
    parser.add_argument("--processes", metavar="NUMBER", type=integer_from(1), help=processes_help)


def check_cluster_arguments(args: argparse.Namespace, without_scheduler: bool = False) -> None:
    """Check `--processes`: a cluster at an address has its own number of workers.

    Args:
        args: The arguments of the command.
        without_scheduler: Whether the command uses `--processes` without `--scheduler` too.

    Raises:
        UsageError: `--processes` is given without `--scheduler local`.
    """
    allowed = (None, LOCAL) if without_scheduler else (LOCAL,)
    if args.processes is not None and args.scheduler not in allowed:
        raise UsageError("--processes must be given with --scheduler local only: another cluster has its own workers")


@contextmanager
def shard_runner(
    args: argparse.Namespace, text: str, description: str
) -> Iterator[tuple[ShardRunner, Callable[[int], object]]]:
    """Yield the runner for `--scheduler`, and a function that moves a progress bar by a number of bytes of `text`."""
    num_bytes = num_bytes_to_read(text)
    with (
        open_cluster(args.scheduler, args.processes or num_usable_cores()) as runner,
        progress_bar(description, "B", num_bytes) as advance,
    ):
        yield runner, advance
