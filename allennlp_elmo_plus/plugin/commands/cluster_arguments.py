"""What the commands that can work over the shards of a corpus ask for the cluster that does it."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from allennlp_elmo_plus.cluster.shards import LOCAL, ShardRunner, open_cluster
from allennlp_elmo_plus.plugin.commands.command_line import integer_from, num_usable_cores


def add_cluster_arguments(parser: argparse.ArgumentParser, what_processes_do: str) -> None:
    """Adds `--scheduler` and `--processes` to `parser`."""
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="have each file of the text done by a worker of the Dask cluster at this address, or for `local` by processes of "
        "this machine; broken off, the same command does only what is left",
    )
    parser.add_argument("--processes", type=integer_from(1), help=what_processes_do)


@contextmanager
def cluster_of(args: argparse.Namespace) -> Iterator[ShardRunner]:
    """The cluster that `args` name. Raises what `open_cluster` raises."""
    with open_cluster(args.scheduler, args.processes or num_usable_cores()) as runner:
        yield runner


def check_cluster_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Leaves with status 2 where arguments do not go together."""
    if args.scheduler not in (None, LOCAL) and args.processes is not None:
        parser.error("--processes goes with --scheduler local: a cluster elsewhere has the workers it has")
