"""The command `elmo-import`."""

import argparse
import sys
from functools import partial
from typing import Any

from overrides import overrides

from allennlp_elmo_plus.commands.shared.command_line import ElmoCommand, progress_bar, refuse_to_replace
from allennlp_elmo_plus.commands.shared.model_arguments import MODEL_HELP
from allennlp_elmo_plus.formats.archive import write_archive
from allennlp_elmo_plus.formats.model_files import ModelSource
from allennlp_elmo_plus.formats.pretrained import load_language_model


class ElmoImport(ElmoCommand):
    """Write an archive from the files of a released biLM.

    The archive holds a model of type `bilm`, for `elmo-plus evaluate`, `predict` and `train`, and for the token embedder. A
    weights.hdf5 of bilm-tf has no softmax. The archive then has a softmax of zeros, so its perplexities mean nothing before
    fine-tuning. The files of `elmo-plus export` and of bilm-tf's training have the softmax.
    """

    example = """\
examples:
  elmo-plus import options.json weights.hdf5 imported.tar.gz
  elmo-plus import exported imported.tar.gz
  elmo-plus import hf://USER/REPOSITORY imported.tar.gz
then use the archive like any other:
  elmo-plus predict imported.tar.gz sentences.txt
  in a config: `archive_file: 'imported.tar.gz'` (token embedder), `pretrained_file: 'imported.tar.gz'` (model)"""

    @overrides
    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("source", help=f"{MODEL_HELP}; or, before weight_file, an options.json")
        parser.add_argument(
            "weight_file", nargs="?", help="the weights that belong to the options.json; a path or a URL"
        )
        parser.add_argument("archive_file", help="the archive to write; an existing file is replaced")
        parser.add_argument(
            "--vocab-file",
            metavar="FILE",
            help="the vocabulary, one word per line, in the order of the rows of the softmax or of the word embedding; needed if the "
            "weights have a softmax or a word embedding, and no vocab.txt is beside them",
        )
        parser.add_argument(
            "--softmax-file",
            metavar="FILE",
            help="an HDF5 file with the softmax (`softmax/W` and `softmax/b`), if the weights have none; needs the vocabulary",
        )
        # argparse assigns all positional arguments at the first option, although more may follow it.
        parser.parse_known_args = partial(_parse_known_args, parser)  # type: ignore[method-assign]

    @overrides
    def run(self, args: argparse.Namespace) -> None:
        source = ModelSource(args.source, args.weight_file, args.vocab_file, args.softmax_file)
        refuse_to_replace(args.archive_file, files=[args.source, args.weight_file, args.vocab_file, args.softmax_file])
        bilm = load_language_model(source)
        write_archive(args.archive_file, bilm, partial(progress_bar, "compressing", "B"))
        print(f"wrote {args.archive_file}")
        if bilm.model.has_untrained_softmax:
            print(
                f"{args.weight_file or args.source} has no softmax: the archive gives word vectors and can be fine-tuned, but its "
                "perplexities and probabilities mean nothing",
                file=sys.stderr,
            )


def _parse_known_args(parser: argparse.ArgumentParser, *args: Any) -> Any:
    # The method of the class is called below.
    delattr(parser, "parse_known_args")
    return parser.parse_known_intermixed_args(*args)
