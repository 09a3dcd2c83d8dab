"""The command `elmo-encode`."""

import argparse
import os

import numpy as np
from overrides import overrides

from allennlp_elmo_plus.cluster.encoding import encode_shards
from allennlp_elmo_plus.commands.shared.cluster_arguments import (
    add_cluster_arguments,
    check_cluster_arguments,
    shard_runner,
)
from allennlp_elmo_plus.commands.shared.command_line import (
    TEXT_HELP,
    ElmoCommand,
    add_encoding_errors_argument,
    integer_from,
)
from allennlp_elmo_plus.data.corpus.cache import open_or_encode
from allennlp_elmo_plus.data.text.characters import DEFAULT_MAX_CHARACTERS
from allennlp_elmo_plus.data.text.text_files import name_of, resolve_paths
from allennlp_elmo_plus.errors import InputError, count_in_words


class ElmoEncode(ElmoCommand):
    """Encode a text before training.

    Training encodes its text at the beginning. Runs that share a text can share one encoding too. If the directory has a current
    encoding of the text already, nothing is written.
    """

    example = """\
example:
  elmo-plus encode 'corpus/*.txt.gz' encoded --scheduler local --processes 8
    in the config, write `data_loader: {type: 'bilm', cache_directory: 'encoded', ...}` and `train_data_path: 'corpus/*.txt.gz'`"""
    after_interruption = "files that a cluster has encoded are kept, nothing else was written"

    @overrides
    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("text", help=f"the text: {TEXT_HELP}")
        parser.add_argument(
            "directory", help="the directory for encoded texts; each text gets a folder of its own there"
        )
        add_encoding_errors_argument(parser)
        parser.add_argument(
            "--max-characters-per-token",
            metavar="NUMBER",
            type=integer_from(3),
            default=DEFAULT_MAX_CHARACTERS,
            help="the value of the token indexer `bilm_characters` in the config",
        )
        add_cluster_arguments(parser)

    @overrides
    def run(self, args: argparse.Namespace) -> None:
        check_cluster_arguments(args)
        for source in resolve_paths(args.text):
            if not os.path.isfile(source):
                raise InputError(
                    f"`text` must be files, so that training can compare them with the encoding, got {name_of(source)}"
                )
        reading = args.encoding_errors, args.max_characters_per_token
        if args.scheduler is None:
            corpus = open_or_encode(args.text, args.directory, *reading)
        else:
            with shard_runner(args, args.text, "encoding") as (runner, advance):
                corpus = encode_shards(args.text, args.directory, runner, advance, *reading)
        # Not `num_types`, which counts `<S>` and `</S>` too.
        num_distinct = np.count_nonzero(corpus.type_counts)
        print(
            f"encoded {count_in_words(corpus.num_sentences, 'sentence')}, {count_in_words(corpus.num_tokens, 'word')}, "
            f"{num_distinct:,} distinct, in {corpus.directory}"
        )
