"""The command `allennlp elmo-encode`."""

import argparse
import os
from functools import partial

import numpy as np
from allennlp.commands.subcommand import Subcommand

from allennlp_elmo_plus.cluster.encoding import encode_shards
from allennlp_elmo_plus.data.corpus.cache import open_or_encode
from allennlp_elmo_plus.data.text.characters import DEFAULT_MAX_CHARACTERS
from allennlp_elmo_plus.data.text.text_files import name_of, resolve_paths
from allennlp_elmo_plus.data.text.word_counts import num_bytes_to_read
from allennlp_elmo_plus.errors import InputError, count_in_words
from allennlp_elmo_plus.plugin.commands.cluster_arguments import (
    add_cluster_arguments,
    check_cluster_arguments,
    cluster_of,
)
from allennlp_elmo_plus.plugin.commands.command_line import failing_in_one_line, integer_from, progress_bar

_EXAMPLE = """\
example:
  allennlp elmo-encode 'corpus/*.txt.gz' encoded --scheduler local --processes 8
a config takes the directory as `data_loader: {type: 'bilm', cache_directory: 'encoded', ...}`, with the text as `train_data_path`
spelt as here"""


@Subcommand.register("elmo-encode")
class ElmoEncode(Subcommand):
    """Encodes a text for training ahead of it, file by file on a cluster where one is named."""

    def add_subparser(self, parser: argparse._SubParsersAction) -> argparse.ArgumentParser:
        subparser = parser.add_parser(
            self.name,
            description=(
                "Encode a text as training does at its beginning, into a directory that any number of trainings then share. An "
                "encoding that is there and up to date is left as it is."
            ),
            help="Encode a text for training ahead of it.",
            epilog=_EXAMPLE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        subparser.add_argument(
            "text",
            type=str,
            help="a file, a directory, a glob in quotes, or several of these separated by commas; plain or .gz",
        )
        subparser.add_argument("directory", type=str, help="where encoded texts are kept, each under a name of its own")
        subparser.add_argument(
            "--encoding-errors",
            choices=["strict", "replace"],
            default="strict",
            help="refuse bytes that are not UTF-8, or read each as U+FFFD, as the reader of the config has it (default: strict)",
        )
        subparser.add_argument(
            "--max-characters-per-token",
            type=integer_from(3),
            default=DEFAULT_MAX_CHARACTERS,
            help=f"as the indexer of the config has it (default: {DEFAULT_MAX_CHARACTERS})",
        )
        add_cluster_arguments(subparser, "with --scheduler local: so many processes (default: one a core)")
        subparser.set_defaults(func=partial(encode_from_args, subparser))
        return subparser


def encode_from_args(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Runs the command; leaves with status 1 and one line on stderr where it cannot be done, 2 for wrong usage."""
    check_cluster_arguments(parser, args)
    if args.scheduler is None and args.processes is not None:
        parser.error("--processes goes with --scheduler local")
    how = args.encoding_errors, args.max_characters_per_token
    with failing_in_one_line("what was encoded of a file is gone, whole files done by a cluster are kept"):
        for source in resolve_paths(args.text):
            if not os.path.isfile(source):
                raise InputError(
                    f"`text` must be files, which a training compares with what was encoded, got {name_of(source)}"
                )
        if args.scheduler is None:
            corpus = open_or_encode(args.text, args.directory, *how)
        else:
            with (
                cluster_of(args) as runner,
                progress_bar(num_bytes_to_read(args.text), "B", unit_scale=True, desc="encoding") as bar,
            ):
                corpus = encode_shards(args.text, args.directory, runner, bar.update, *how)
    print(
        # Not `num_types`, which counts `<S>` and `</S>` too.
        f"encoded {count_in_words(corpus.num_sentences, 'sentence')}, {count_in_words(corpus.num_tokens, 'word')}, "
        f"{np.count_nonzero(corpus.type_counts):,} distinct, in "
        f"{corpus.directory}"
    )
