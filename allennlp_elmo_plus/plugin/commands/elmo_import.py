"""The command `allennlp elmo-import`."""

import argparse
import sys
from functools import partial

from allennlp.commands.subcommand import Subcommand
from overrides import overrides

from allennlp_elmo_plus.formats.import_model import import_model, write_archive
from allennlp_elmo_plus.plugin.commands.command_line import ElmoCommand, progress_bar


@Subcommand.register("elmo-import")
class ElmoImport(ElmoCommand):
    """Write an archive from the files of bilm-tf or AllenNLP's Elmo.

    The archive holds a model of type `bilm`, for `allennlp evaluate`, `predict` and `train`, and for the token embedder. Files that
    bilm-tf wrote have no softmax. The archive then has a softmax of zeros, so its perplexities mean nothing before fine-tuning.
    Files of `elmo-export` have the softmax.
    """

    example = """\
examples:
  allennlp elmo-import options.json weights.hdf5 imported.tar.gz
  allennlp elmo-import exported/options.json exported/weights.hdf5 imported.tar.gz --vocab-file exported/vocab.txt
then use the archive like any other:
  allennlp predict imported.tar.gz sentences.txt
  in a config: `archive_file: 'imported.tar.gz'` (token embedder), `pretrained_file: 'imported.tar.gz'` (model)"""

    @overrides
    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("options_file", help="the options.json; a path or a URL")
        parser.add_argument("weight_file", help="the weights.hdf5 that belongs to it; a path or a URL")
        parser.add_argument("archive_file", help="the archive to write; an existing file is replaced")
        parser.add_argument(
            "--vocab-file",
            metavar="FILE",
            help="the vocabulary, one word per line, in the order of the rows of the softmax or of the word embedding; needed if the "
            "weights have a softmax or a word embedding, not used otherwise",
        )

    @overrides
    def run(self, args: argparse.Namespace) -> None:
        imported = import_model(args.options_file, args.weight_file, args.vocab_file)
        write_archive(args.archive_file, imported, partial(progress_bar, "compressing", "B"))
        print(f"wrote {args.archive_file}")
        if not imported.has_softmax:
            print(
                f"{args.weight_file} has no softmax: the archive gives word vectors and can be fine-tuned, but its perplexities "
                "and probabilities mean nothing",
                file=sys.stderr,
            )
