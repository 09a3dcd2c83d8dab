"""The command `allennlp elmo-export`."""

import argparse
import sys
from typing import Optional, Union

import torch
from allennlp.commands.subcommand import Subcommand
from allennlp.modules.elmo import Elmo, batch_to_ids
from torch import nn

from allennlp_elmo_plus.data.text.characters import (
    BOS_WORD,
    EOS_WORD,
    encode_words,
)
from allennlp_elmo_plus.data.text.vocabulary import look_up_words, read_vocabulary
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.export import (
    ALLENNLP_MAX_CHARACTERS,
    ExportedFiles,
    allennlp_refusal,
    bilm_tf_refusal,
    export_model,
)
from allennlp_elmo_plus.formats.model_files import ModelSource
from allennlp_elmo_plus.formats.pretrained import PretrainedModel, load_encoder, load_language_model
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.modules.language_model import LanguageModel
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.plugin.commands.command_line import failing_in_one_line, progress_bar

MAX_DIFFERENCE = 1e-5
_BYTES_A_NUMBER = 4

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
    """Turns the archive of a pretrained model "bilm" into the files that bilm-tf and AllenNLP's `elmo_token_embedder`
    load, and compares what AllenNLP computes from them with what the model computes. A model that AllenNLP cannot load,
    but bilm-tf can, is written too: word input, or words of more or fewer than 50 characters, for example.
    """

    def add_subparser(self, parser: argparse._SubParsersAction) -> argparse.ArgumentParser:
        subparser = parser.add_parser(
            self.name,
            description=(
                "Write a pretrained biLM as options.json, weights.hdf5 and vocab.txt for bilm-tf and AllenNLP, "
                "load them in AllenNLP's Elmo, and print the largest difference from the model; "
                f"above {MAX_DIFFERENCE:g} the exit status is 1. The softmax is in the files too, where only this package "
                "looks for it. Where AllenNLP's Elmo cannot load them, that is said, and the files are read again instead."
            ),
            help="Write a pretrained biLM as files for bilm-tf and AllenNLP's Elmo.",
            epilog=_EXAMPLE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        subparser.add_argument(
            "archive_file",
            type=str,
            help="a model.tar.gz that pretraining the model `bilm` left, the directory of the run, or a biLM of any other kind that "
            "`elmo --model` reads, such as a directory of bilm-tf's training",
        )
        subparser.add_argument(
            "output_directory", type=str, help="where to write; files of these names there are replaced"
        )
        subparser.add_argument(
            "--vocab-file", type=str, help="the vocabulary, where neither the archive nor the directory holds it"
        )
        subparser.set_defaults(func=export_from_args)
        return subparser


def export_from_args(args: argparse.Namespace) -> None:
    """Runs the command; leaves with status 1 and one line on stderr where it cannot be done, or the files differ."""
    with failing_in_one_line("each of the three files is there whole, or as it was"):
        pretrained = load_language_model(ModelSource(args.archive_file, vocab_file=args.vocab_file))
        try:
            written = _export(pretrained, args.output_directory)
        except InputError as error:
            raise InputError(f"{args.archive_file}: {error}") from None
        for file in written:
            print(f"wrote {file}")
        _check(pretrained.model, pretrained.options, written)


def _export(pretrained: PretrainedModel, directory: str) -> ExportedFiles:
    exported: nn.Module = pretrained.model
    if pretrained.model.softmax.is_zero_initialized:
        exported = nn.ModuleDict({"token_encoder": pretrained.model.token_encoder, "bilm": pretrained.model.bilm})
        print("the model has no softmax, as it was imported from files without one, and neither have these files")
    num_bytes = sum(parameter.numel() * _BYTES_A_NUMBER for parameter in exported.parameters())
    with progress_bar(num_bytes, "B", unit_scale=True) as bar:
        return export_model(exported, pretrained.options, pretrained.vocabulary, directory, bar.update)


def _check(language_model: LanguageModel, options: BiLMOptions, files: ExportedFiles) -> None:
    refusal, bilm_tfs = allennlp_refusal(options), bilm_tf_refusal(options)
    if bilm_tfs is not None:
        print(f"bilm-tf cannot use these files: {bilm_tfs}; AllenNLP's Elmo and this package can", file=sys.stderr)
    if refusal is None:
        difference = largest_difference(language_model, files)
        print(f"largest difference from AllenNLP's Elmo on {len(SAMPLE_SENTENCES)} sentences: {difference:.2e}")
    else:
        print(f"AllenNLP's Elmo cannot use these files: {refusal}; bilm-tf and this package can", file=sys.stderr)
        if options.char_cnn is not None and options.char_cnn.max_characters != ALLENNLP_MAX_CHARACTERS:
            print("it loads them without a word, and at the first text fails or gives wrong vectors", file=sys.stderr)
        difference = difference_read_again(language_model, files)
        print(f"largest difference of the files read again, on {len(SAMPLE_SENTENCES)} sentences: {difference:.2e}")
    if not difference <= MAX_DIFFERENCE:
        sys.exit(f"the files differ from the model by more than {MAX_DIFFERENCE:g}: do not use them")


def largest_difference(language_model: LanguageModel, files: ExportedFiles) -> float:
    """The largest absolute difference, over words and layers, between the model and AllenNLP's `Elmo` loading `files`."""
    ids = batch_to_ids(SAMPLE_SENTENCES)
    with torch.no_grad():
        theirs: list[torch.Tensor] = Elmo(str(files.options), str(files.weights), 1)._elmo_lstm(ids)["activations"]
    return _largest(_layers(language_model, ALLENNLP_MAX_CHARACTERS, (0, 1), ids), theirs)


def difference_read_again(language_model: LanguageModel, files: ExportedFiles) -> float:
    """The same between the model and what this package reads from `files`."""
    encoder = load_encoder(BiLMOptions.from_file(files.options), files.weights)
    width = encoder.max_characters
    if width is None:
        rows = {word: row for row, word in enumerate(read_vocabulary(files.vocabulary), start=1)}
        sentences = [torch.tensor(look_up_words(words, rows)) for words in SAMPLE_SENTENCES]
        boundary_ids = rows[BOS_WORD] - 1, rows[EOS_WORD] - 1
    else:
        sentences = [torch.from_numpy(encode_words(words, width)).long() for words in SAMPLE_SENTENCES]
        boundary_ids = 0, 1
    ids = nn.utils.rnn.pad_sequence(sentences, batch_first=True)
    theirs = _layers(encoder, width, boundary_ids, ids)
    return _largest(_layers(language_model, width, boundary_ids, ids), theirs)


def _layers(
    model: Union[LanguageModel, BiLMEncoder],
    max_characters: Optional[int],
    boundary_ids: tuple[int, int],
    ids: torch.Tensor,
) -> list[torch.Tensor]:
    """Each layer's output for the sentences `ids` and their boundaries, without dropout."""
    was_training = model.training
    encoder = BiLMEncoder(model.token_encoder, model.bilm, max_characters, boundary_ids).eval()
    try:
        with torch.no_grad():
            layers, layout, _ = encoder(ids)
            return [layout.unpack(layer, keep_boundaries=True) for layer in layers]
    finally:
        model.train(was_training)


def _largest(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
    # `max` of numbers may lose one that is not a number; of tensors it does not.
    return torch.stack([(our - their).abs().max() for our, their in zip(ours, theirs, strict=True)]).max().item()
