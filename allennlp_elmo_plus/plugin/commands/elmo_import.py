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

from allennlp_elmo_plus.data.text.vocabulary import SPECIAL_WORDS, write_vocabulary
from allennlp_elmo_plus.formats.model_files import ModelSource
from allennlp_elmo_plus.formats.pretrained import read_model
from allennlp_elmo_plus.formats.transfer import carry_over
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.plugin.commands.command_line import failing_in_one_line, progress_bar
from allennlp_elmo_plus.plugin.data.vocabulary import BilmVocabulary
from allennlp_elmo_plus.plugin.models.bilm_model import BilmModel
from allennlp_elmo_plus.storage.atomic_files import atomic_path

_EXAMPLE = """\
examples:
  allennlp elmo-import options.json weights.hdf5 imported.tar.gz
  allennlp elmo-import exported/ imported.tar.gz
  allennlp elmo-import hf://USER/REPOSITORY imported.tar.gz
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
                "Write an archive of the model `bilm` from the files of a released biLM, for `allennlp evaluate`, "
                "`predict` and `train` and for the token embedder. Files that bilm-tf wrote have no softmax: then the archive "
                "has an empty one, and perplexities mean nothing until it is fine-tuned. Those that `elmo-export` wrote have it."
            ),
            help="Read the files of bilm-tf or AllenNLP's Elmo into an archive.",
            epilog=_EXAMPLE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        subparser.add_argument(
            "source",
            type=str,
            help="a directory or a zip with options.json and one HDF5 file, a directory of bilm-tf's training, or, before "
            "`weight_file`, an options.json; a path or a URL",
        )
        subparser.add_argument(
            "weight_file", type=str, nargs="?", help="the weights that go with an options.json; a path or a URL"
        )
        subparser.add_argument("archive_file", type=str, help="the archive to write; one that is there is replaced")
        subparser.add_argument(
            "--vocab-file",
            type=str,
            help="the vocabulary: a word a line, in the order of the softmax or of the word embedding; needed where the weights "
            "have either and no vocab.txt is beside them",
        )
        subparser.add_argument(
            "--softmax-file",
            type=str,
            help="an HDF5 file with the softmax (`softmax/W` and `softmax/b`), where the weights lack it; needs the vocabulary",
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
                f"{args.weight_file or args.source} has no softmax: the archive gives word vectors and can be fine-tuned, but its perplexities "
                "and probabilities mean nothing",
                file=sys.stderr,
            )


def _write_archive(args: argparse.Namespace, path: Path) -> bool:
    """Writes the archive to `path`; returns whether it has a softmax that was trained."""
    stored = read_model(ModelSource(args.source, args.weight_file, args.vocab_file, args.softmax_file))
    words = stored.vocabulary or list(SPECIAL_WORDS)
    options = dataclasses.replace(stored.options, n_tokens_vocab=len(words))
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
        carried = carry_over(model.language_model, stored, words)
        del stored
        torch.save(model.state_dict(), directory / "weights.th")
        del model
        vocabulary.save_to_files(str(directory / "vocabulary"))
        (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        _compress(directory, path)
    return carried.has_softmax


def _config(options: BiLMOptions) -> dict[str, Any]:
    indexers: dict[str, Any] = {"tokens": {"type": "single_id"}}
    if options.char_cnn is not None:
        indexers["characters"] = {
            "type": "bilm_characters",
            "max_characters_per_token": options.char_cnn.max_characters,
        }
    # With fewer words than samples there is nothing to sample.
    samples = options.sample_softmax and options.n_negative_samples_batch < (options.n_tokens_vocab or 0)
    return {
        "dataset_reader": {"type": "bilm", "token_indexers": indexers},
        "vocabulary": {"type": "bilm"},
        "model": {
            "type": "bilm",
            **dataclasses.replace(options, sample_softmax=samples).to_dict(inference=False),
        },
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
