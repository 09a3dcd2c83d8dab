"""The command `allennlp elmo-import`."""

import argparse
import dataclasses
import json
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import torch
from allennlp.commands.subcommand import Subcommand
from allennlp.common import Params
from allennlp.models import Model

from allennlp_elmo_plus.data.text.vocabulary import SPECIAL_WORDS, read_vocabulary, write_vocabulary
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.bilm_tf_hdf5 import has_softmax, read_parameters, read_vocab_size
from allennlp_elmo_plus.formats.model_files import local_path
from allennlp_elmo_plus.formats.transfer import PretrainedWeights, carry_over
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.plugin.commands.command_line import failing_in_one_line, progress_bar
from allennlp_elmo_plus.plugin.data.vocabulary import BilmVocabulary
from allennlp_elmo_plus.plugin.models.bilm_model import BilmModel
from allennlp_elmo_plus.storage.atomic_files import atomic_path

_EXAMPLE = """\
examples:
  allennlp elmo-import options.json weights.hdf5 imported.tar.gz
  allennlp elmo-import exported/options.json exported/weights.hdf5 imported.tar.gz --vocab-file exported/vocab.txt
then, as with any archive:
  allennlp predict imported.tar.gz sentences.txt
  and in a config `archive_file: 'imported.tar.gz'` (the token embedder) or `pretrained_file: 'imported.tar.gz'` (the model)"""

# Held-out text is read as one stream, as the configs have it.
_NUM_STEPS = 640


@Subcommand.register("elmo-import")
class ElmoImport(Subcommand):
    """Turns the files of bilm-tf, or of AllenNLP's ELMo, into the archive of a model "bilm"."""

    def add_subparser(self, parser: argparse._SubParsersAction) -> argparse.ArgumentParser:
        subparser = parser.add_parser(
            self.name,
            description=(
                "Write an archive of the model `bilm` from the options.json and weights.hdf5 of bilm-tf, for `allennlp evaluate`, "
                "`predict` and `train` and for the token embedder. Files that bilm-tf wrote have no softmax: then the archive "
                "has an empty one, and perplexities mean nothing until it is fine-tuned. Those that `elmo-export` wrote have it."
            ),
            help="Read the files of bilm-tf or AllenNLP's Elmo into an archive.",
            epilog=_EXAMPLE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        subparser.add_argument("options_file", type=str, help="an options.json, a path or a URL")
        subparser.add_argument("weight_file", type=str, help="the weights.hdf5 that goes with it")
        subparser.add_argument("archive_file", type=str, help="the archive to write; one that is there is replaced")
        subparser.add_argument(
            "--vocab-file",
            type=str,
            help="the vocabulary: a word a line, in the order of the softmax or of the word embedding; needed where the weights "
            "have either, and of no use where they have neither",
        )
        subparser.set_defaults(func=import_from_args)
        return subparser


def import_from_args(args: argparse.Namespace) -> None:
    """Runs the command; leaves with status 1 and one line on stderr where it cannot be done."""
    with failing_in_one_line():
        with atomic_path(args.archive_file) as temporary:
            softmax_is_there = _write_archive(args, temporary)
        print(f"wrote {args.archive_file}")
        if not softmax_is_there:
            print(
                f"{args.weight_file} has no softmax: the archive gives word vectors and can be fine-tuned, but its perplexities "
                "and probabilities mean nothing",
                file=sys.stderr,
            )


def _write_archive(args: argparse.Namespace, path: Path) -> bool:
    """Writes the archive to `path`; returns whether it has a softmax that was trained."""
    weight_file = local_path(args.weight_file)
    options = BiLMOptions.from_file(local_path(args.options_file))
    words = _words(args, options, weight_file)
    options = dataclasses.replace(options, n_tokens_vocab=len(words))
    weights = read_parameters(weight_file, options, len(words))
    # Beside the archive: the disk that has room for one has room for the other.
    with tempfile.TemporaryDirectory(prefix=".elmo-import-", dir=path.parent) as name:
        directory = Path(name)
        write_vocabulary(directory / "vocab.txt", words)
        vocabulary = BilmVocabulary.from_text([], vocab_file=str(directory / "vocab.txt"))
        config = _config(options)
        model = Model.from_params(Params(config["model"]).duplicate(), vocab=vocabulary)
        assert isinstance(model, BilmModel)
        with torch.no_grad():
            # What the weights leave out of the softmax is to be recognised by its zeros.
            model.language_model.softmax.bias.zero_()
            if not options.share_embedding_softmax:
                model.language_model.softmax.weight.zero_()
        carried = carry_over(model.language_model, PretrainedWeights(weights, words), words, str(weight_file))
        del weights
        torch.save(model.state_dict(), directory / "weights.th")
        del model
        vocabulary.save_to_files(str(directory / "vocabulary"))
        (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        _compress(directory, path)
    return carried.has_softmax


def _words(args: argparse.Namespace, options: BiLMOptions, weight_file: Path) -> list[str]:
    softmax_is_there = has_softmax(weight_file)
    if args.vocab_file is not None:
        words = read_vocabulary(local_path(args.vocab_file))
        num_rows = read_vocab_size(weight_file) if options.char_cnn is None else len(words)
        if num_rows != len(words):
            raise InputError(
                f"{args.vocab_file}: must have {num_rows} words, as the word embedding has, got {len(words)}"
            )
        return words
    if options.char_cnn is None or softmax_is_there:
        part = "softmax" if softmax_is_there else "word embedding"
        raise InputError(
            f"`--vocab-file` must be given: {args.weight_file} has a {part}, whose rows stand for its words"
        )
    return list(SPECIAL_WORDS)


def _config(options: BiLMOptions) -> dict[str, Any]:
    indexers: dict[str, Any] = {"tokens": {"type": "single_id"}}
    if options.char_cnn is not None:
        indexers["characters"] = {
            "type": "bilm_characters",
            "max_characters_per_token": options.char_cnn.max_characters,
        }
    return {
        "dataset_reader": {"type": "bilm", "token_indexers": indexers},
        "vocabulary": {"type": "bilm"},
        "model": {"type": "bilm", **options.to_dict(inference=False)},
        "data_loader": {"type": "bilm", "batch_size": 1, "num_steps": _NUM_STEPS, "shuffle": False},
    }


def _compress(directory: Path, path: Path) -> None:
    """The files AllenNLP expects in an archive, from `directory`, as the tar.gz at `path`."""
    weights = directory / "weights.th"
    size = weights.stat().st_size
    with tarfile.open(path, "w:gz", compresslevel=1) as archive, progress_bar(size, "B", unit_scale=True) as bar:
        for name in ("config.json", "vocabulary"):
            archive.add(directory / name, arcname=name, filter=_without_lock)
        with open(weights, "rb") as file:
            archive.addfile(archive.gettarinfo(arcname=weights.name, fileobj=file), _Counted(file, bar))


def _without_lock(member: tarfile.TarInfo) -> Any:
    return None if member.name.endswith(".lock") else member


class _Counted:
    """A file whose reads move a progress bar."""

    def __init__(self, file: Any, bar: Any) -> None:
        self._file = file
        self._bar = bar

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._bar.update(len(data))
        return data
