"""The command `allennlp elmo-export`."""

import argparse
import sys

import torch
from allennlp.commands.subcommand import Subcommand
from allennlp.common.file_utils import cached_path
from allennlp.modules.elmo import Elmo, batch_to_ids

from allennlp_elmo_plus.core.errors import InputError
from allennlp_elmo_plus.core.export import ExportedFiles, export_model
from allennlp_elmo_plus.core.language_model import LanguageModel
from allennlp_elmo_plus.core.pretrained import load_language_model
from allennlp_elmo_plus.core.representation import BiLMEncoder

MAX_DIFFERENCE = 1e-5

# Sentences of different lengths, with words beyond ASCII and one longer than the characters a word has.
SAMPLE_SENTENCES = [
    "The harbour froze twice that winter , and the ferries stayed in .".split(),
    "Grüße aus Zürich".split(),
    ["Rain"],
    ["An", "un" + "remarkably" * 6, "word", "나비", "🙂", "!"],
]

_EXAMPLE = """\
example:
  allennlp elmo-export runs/bilm/model.tar.gz exported/
  writes exported/options.json, exported/weights.hdf5 and exported/vocab.txt"""


@Subcommand.register("elmo-export")
class ElmoExport(Subcommand):
    """
    Turns the archive of a pretrained model "bilm" into the files that bilm-tf and AllenNLP's `elmo_token_embedder`
    load, and compares what AllenNLP computes from them with what the model computes.
    """

    def add_subparser(self, parser: argparse._SubParsersAction) -> argparse.ArgumentParser:
        subparser = parser.add_parser(
            self.name,
            description=(
                "Write a pretrained biLM as options.json, weights.hdf5 and vocab.txt for bilm-tf and AllenNLP, "
                "load them in AllenNLP's Elmo, and print the largest difference from the model; "
                f"above {MAX_DIFFERENCE:g} the exit status is 1."
            ),
            help="Write a pretrained biLM as files for bilm-tf and AllenNLP's Elmo.",
            epilog=_EXAMPLE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        subparser.add_argument("archive_file", type=str, help="a model.tar.gz that pretraining the model `bilm` left")
        subparser.add_argument(
            "output_directory", type=str, help="where to write; files of these names there are replaced"
        )
        subparser.set_defaults(func=export_from_args)
        return subparser


def export_from_args(args: argparse.Namespace) -> None:
    """Runs the command; leaves with status 1 and one line on stderr where it cannot be done, or the files differ."""
    try:
        archive_file = cached_path(args.archive_file)
    except (OSError, ValueError) as error:
        sys.exit(f"{args.archive_file}: cannot be found: {' '.join(str(error).split())}")
    try:
        pretrained = load_language_model(archive_file)
        files = export_model(pretrained.model, pretrained.options, pretrained.vocabulary, args.output_directory)
    except InputError as error:
        sys.exit(f"{args.archive_file}: {str(error).removeprefix(f'{archive_file}: ')}")
    for file in files:
        print(f"wrote {file}")
    difference = largest_difference(pretrained.model, files)
    print(f"largest difference from AllenNLP's Elmo on {len(SAMPLE_SENTENCES)} sentences: {difference:.2e}")
    if not difference <= MAX_DIFFERENCE:
        sys.exit(f"the files differ from the model by more than {MAX_DIFFERENCE:g}: do not use them")


def largest_difference(language_model: LanguageModel, files: ExportedFiles) -> float:
    """
    The largest absolute difference, over words and layers, between the model and AllenNLP's `Elmo` loading `files`.
    """
    was_training = language_model.training
    encoder = BiLMEncoder(language_model.token_encoder, language_model.bilm, max_characters=50).eval()
    try:
        ids = batch_to_ids(SAMPLE_SENTENCES)
        with torch.no_grad():
            theirs: list[torch.Tensor] = Elmo(str(files.options), str(files.weights), 1)._elmo_lstm(ids)["activations"]
            layers, layout, _ = encoder(ids)
            ours = [layout.unpack(layer, keep_boundaries=True) for layer in layers]
        # `max` of numbers may lose one that is not a number; of tensors it does not.
        return torch.stack([(our - their).abs().max() for our, their in zip(ours, theirs, strict=True)]).max().item()
    finally:
        language_model.train(was_training)
