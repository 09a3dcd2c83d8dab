"""The command `allennlp elmo-cache`."""

import argparse
from functools import partial

from allennlp.commands.subcommand import Subcommand

from allennlp_elmo_plus.errors import InputError, count_in_words
from allennlp_elmo_plus.formats.model_files import ModelSource
from allennlp_elmo_plus.formats.pretrained import read_model
from allennlp_elmo_plus.formats.token_embeddings import write_token_embeddings
from allennlp_elmo_plus.plugin.commands.command_line import failing_in_one_line
from allennlp_elmo_plus.plugin.commands.elmo import progress_bar
from allennlp_elmo_plus.plugin.commands.model_arguments import add_model_arguments, check_model_arguments, device_of
from allennlp_elmo_plus.storage.atomic_files import HDF5_SUFFIXES, check_suffix

_EXAMPLE = """\
example:
  allennlp elmo-cache words.hdf5 --model runs/bilm/model.tar.gz
  writes the dataset `embedding`, (words in the vocabulary, projection_dim), as bilm-tf's dump_token_embeddings does"""


@Subcommand.register("elmo-cache")
class CacheTokenEmbeddings(Subcommand):
    """Writes the vectors of a biLM's vocabulary, computed from characters, as bilm-tf's `dump_token_embeddings`."""

    def add_subparser(self, parser: argparse._SubParsersAction) -> argparse.ArgumentParser:
        subparser = parser.add_parser(
            self.name,
            description=(
                "Write the vector that a biLM computes from the characters of each word of a vocabulary, for "
                "--token-embedding-file of `elmo`, `token_embedding_file` of the token embedder, and bilm-tf."
            ),
            help="Write the vectors of a vocabulary's words, so that they need not be computed again.",
            epilog=_EXAMPLE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        subparser.add_argument("output_file", type=str, help="the HDF5 file to write; one that is there is replaced")
        add_model_arguments(subparser)
        subparser.set_defaults(func=partial(cache_from_args, subparser))
        return subparser


def cache_from_args(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Runs the command; leaves with status 2 for arguments that make no sense, 1 and one line where it cannot be done."""
    check_model_arguments(parser, args)
    with failing_in_one_line():
        check_suffix(args.output_file, "output_file", HDF5_SUFFIXES)
        source = ModelSource(args.model or args.options_file, args.weight_file, args.vocab_file)
        stored = read_model(source, with_softmax=False)
        words = stored.vocabulary
        if words is None:
            raise InputError(f"{source.path}: holds no vocabulary; give one with --vocab-file")
        encoder = stored.build_encoder().to(device_of(args.cuda_device))
        with progress_bar("encoding", "word", len(words), 0) as advance:
            write_token_embeddings(args.output_file, encoder, words, advance)
    print(f"wrote {args.output_file}: {count_in_words(len(words), 'word')}")
