"""The command `elmo-export`."""

import argparse
import sys

import numpy as np
import torch
from allennlp.modules.elmo import Elmo, batch_to_ids
from overrides import overrides

from allennlp_elmo_plus.commands.shared.command_line import ElmoCommand, progress_bar
from allennlp_elmo_plus.commands.shared.model_arguments import MODEL_HELP, add_vocab_file_argument
from allennlp_elmo_plus.data.text.vocabulary import read_vocabulary
from allennlp_elmo_plus.formats.export import (
    ALLENNLP_MAX_CHARACTERS,
    ExportedFiles,
    allennlp_refusal,
    bilm_tf_refusal,
    export_model,
    without_untrained_softmax,
)
from allennlp_elmo_plus.formats.model_files import ModelSource
from allennlp_elmo_plus.formats.pretrained import PretrainedModel, load_language_model
from allennlp_elmo_plus.inference.embedder import ElmoEmbedder
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.modules.language_model import LanguageModel
from allennlp_elmo_plus.options.bilm_options import BiLMOptions

MAX_DIFFERENCE = 1e-5
_BYTES_PER_NUMBER = 4

# Sentences of different lengths, with words outside of ASCII and a word longer than the model reads.
SAMPLE_SENTENCES = [
    "The harbour froze twice that winter , and the ferries stayed in .".split(),
    "Grüße aus Zürich".split(),
    ["Rain"],
    ["An", "un" + "remarkably" * 6, "word", "나비", "🙂", "!"],
]


class ElmoExport(ElmoCommand):
    """Write a pretrained biLM as files for bilm-tf and AllenNLP's Elmo.

    The files are options.json, weights.hdf5 and vocab.txt. They are loaded into AllenNLP's Elmo, and the largest difference from
    the model's own vectors is printed; the exit status is 1 if it is above 1e-05. If AllenNLP's Elmo cannot load such a model, a
    message says why, and this package loads the files instead. The softmax is in weights.hdf5 too; only this package reads it.
    """

    example = """\
example:
  elmo-plus export runs/bilm/model.tar.gz exported
    writes exported/options.json, exported/weights.hdf5 and exported/vocab.txt"""
    after_interruption = "each of the three files is complete, or as it was before"

    @overrides
    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("archive_file", help=MODEL_HELP)
        parser.add_argument("output_directory", help="the directory to write to; existing files are replaced")
        add_vocab_file_argument(parser)

    @overrides
    def run(self, args: argparse.Namespace) -> None:
        pretrained = load_language_model(ModelSource(args.archive_file, vocab_file=args.vocab_file))
        exported = _export(pretrained, args.output_directory)
        for file in exported:
            print(f"wrote {file}")
        _compare(pretrained.model, pretrained.options, exported)


def _export(pretrained: PretrainedModel, directory: str) -> ExportedFiles:
    model = without_untrained_softmax(pretrained.model)
    if model is not pretrained.model:
        print("the model was imported without a softmax, so these files have no softmax")
    num_bytes = sum(parameter.numel() * _BYTES_PER_NUMBER for parameter in model.parameters())
    with progress_bar("writing", "B", num_bytes) as advance:
        return export_model(model, pretrained.options, pretrained.vocabulary, directory, advance)


def _compare(model: LanguageModel, options: BiLMOptions, files: ExportedFiles) -> None:
    refusal, refusal_of_bilm_tf = allennlp_refusal(options), bilm_tf_refusal(options)
    if refusal_of_bilm_tf is not None:
        print(f"bilm-tf cannot use these files: {refusal_of_bilm_tf}; AllenNLP's Elmo can", file=sys.stderr)
    if refusal is None:
        difference, reader = difference_from_allennlp(model, files), "AllenNLP's Elmo"
    else:
        print(f"AllenNLP's Elmo cannot use these files: {refusal}; bilm-tf can", file=sys.stderr)
        if options.char_cnn is not None and options.char_cnn.max_characters != ALLENNLP_MAX_CHARACTERS:
            print(
                "it loads them without an error, then fails at the first text or gives wrong vectors", file=sys.stderr
            )
        difference, reader = difference_from_files(model, files), "the written files"
    print(f"largest difference from {reader}, in {len(SAMPLE_SENTENCES)} sentences: {difference:.2e}")
    # `not <=` instead of `>`: a difference that is not a number is an error too.
    if not difference <= MAX_DIFFERENCE:
        sys.exit(f"the files differ from the model by more than {MAX_DIFFERENCE:g}: do not use them")


def difference_from_allennlp(model: LanguageModel, files: ExportedFiles) -> float:
    """Return the largest absolute difference between the vectors of `model` and those of AllenNLP's `Elmo` with `files`."""
    elmo = Elmo(str(files.options), str(files.weights), 1)._elmo_lstm
    with torch.no_grad():
        layers = torch.stack(elmo(batch_to_ids(SAMPLE_SENTENCES))["activations"]).numpy()
    # Row 0 is `<S>`.
    theirs = [layers[:, row, 1 : len(words) + 1] for row, words in enumerate(SAMPLE_SENTENCES)]
    return _largest_difference(_embedder(model, files).embed_batch(SAMPLE_SENTENCES), theirs)


def difference_from_files(model: LanguageModel, files: ExportedFiles) -> float:
    """Return the largest absolute difference between the vectors of `model` and those of the biLM in `files`."""
    reader = ElmoEmbedder.from_pretrained(files.options, files.weights, files.vocabulary)
    embedders = _embedder(model, files), reader
    return _largest_difference(*(embedder.embed_batch(SAMPLE_SENTENCES) for embedder in embedders))


def _embedder(model: LanguageModel, files: ExportedFiles) -> ElmoEmbedder:
    options, words = BiLMOptions.from_file(files.options), read_vocabulary(files.vocabulary)
    max_characters = None if options.char_cnn is None else options.char_cnn.max_characters
    return ElmoEmbedder(BiLMEncoder(model.token_encoder, model.bilm, max_characters), words)


def _largest_difference(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    # Python's `max` may lose a value that is not a number.
    return float(np.max([np.abs(our - their).max() for our, their in zip(ours, theirs, strict=True)]))
