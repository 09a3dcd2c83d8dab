"""The command `allennlp elmo`."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from allennlp.commands.subcommand import Subcommand
from allennlp.common import Tqdm

from allennlp_elmo_plus.cluster.embedding import embed_shards
from allennlp_elmo_plus.data.text.text_files import source_of
from allennlp_elmo_plus.data.text.word_counts import num_bytes_to_read
from allennlp_elmo_plus.errors import count_in_words
from allennlp_elmo_plus.formats.model_files import local_path
from allennlp_elmo_plus.formats.trained_mix import read_trained_mix
from allennlp_elmo_plus.inference.embed_file import (
    HDF5,
    NPZ,
    EmbedSettings,
    embed_file,
)
from allennlp_elmo_plus.inference.embedder import DEFAULT_BATCH_SIZE
from allennlp_elmo_plus.inference.embedder_files import EmbedderFiles, load_embedder
from allennlp_elmo_plus.modules.layer_mix import (
    ALL,
    AVERAGE,
    SUM,
    TOP,
    LayerOutput,
)
from allennlp_elmo_plus.plugin.commands.cluster_arguments import (
    add_cluster_arguments,
    check_cluster_arguments,
    cluster_of,
)
from allennlp_elmo_plus.plugin.commands.command_line import failing_in_one_line
from allennlp_elmo_plus.plugin.commands.model_arguments import add_model_arguments, check_model_arguments, device_of
from allennlp_elmo_plus.storage.atomic_files import HDF5_SUFFIXES, check_suffix
from allennlp_elmo_plus.storage.resumable_hdf5 import check_new

_EXAMPLE = """\
example:
  allennlp elmo sentences.txt vectors.hdf5 --all --model runs/bilm/model.tar.gz
  writes for line i of sentences.txt, counted from 0, the dataset "i" of shape (3, words, 2 * projection_dim)
  allennlp elmo 'corpus/*.txt.gz' vectors --top --model runs/bilm/model.tar.gz --scheduler local --processes 8
  writes vectors/NAME.hdf5 for each file NAME of the corpus"""


@Subcommand.register("elmo")
class EmbedWithElmo(Subcommand):
    """Writes the ELMo vectors of a tokenized text to an HDF5 file or an npz, laid out as by AllenNLP 0.9's command."""

    def add_subparser(self, parser: argparse._SubParsersAction) -> argparse.ArgumentParser:
        subparser = parser.add_parser(
            self.name,
            description=(
                "Write the vectors of a biLM for every word of a text. Interrupted or killed, "
                "the same command goes on where it was; the output file appears once it is whole."
            ),
            help="Write the ELMo vectors of a text to a file.",
            epilog=_EXAMPLE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        subparser.add_argument(
            "input_file",
            type=str,
            help="a sentence a line, words separated by spaces; .gz too; a FASTA file (.fasta, .faa, .fna), whose characters are "
            "words and whose identifiers are keys; - for standard input; with --scheduler a directory, "
            "a glob in quotes or several files separated by commas",
        )
        subparser.add_argument(
            "output_file",
            type=str,
            help="the file to write, which must not be there yet; with --scheduler the directory for a file of each of the text",
        )
        layers = subparser.add_mutually_exclusive_group(required=True)
        layers.add_argument("--all", action="store_true", help="every layer's vector of a word")
        layers.add_argument("--top", action="store_true", help="the top layer's")
        layers.add_argument("--average", action="store_true", help="the average of all layers")
        layers.add_argument("--sum", action="store_true", help="the sum of all layers, as in SeqVec")
        layers.add_argument(
            "--mix",
            metavar="ARCHIVE",
            type=str,
            help="the mix that the model in ARCHIVE, which has a token embedder of type `bilm`, has learned: the vectors "
            "it gets before dropout and projection, from the biLM in ARCHIVE",
        )
        add_model_arguments(subparser)
        subparser.add_argument(
            "--token-embedding-file", type=str, help="vectors of words that `elmo-cache` wrote, to save computing them"
        )
        subparser.add_argument(
            "--batch-size",
            type=int,
            default=DEFAULT_BATCH_SIZE,
            help="tokens at once, two more than words in a sentence; longer sentences are run in pieces, exactly",
        )
        subparser.add_argument(
            "--forget-sentences", action="store_true", help="leave out `sentence_to_index`, which holds all sentences"
        )
        subparser.add_argument(
            "--use-sentence-keys",
            action="store_true",
            help="use each sentence as its key instead of its line's number; refused where a line cannot be one",
        )
        subparser.add_argument(
            "--pool",
            action="store_true",
            help="one vector for each sentence: the mean over its words",
        )
        subparser.add_argument(
            "--float16", action="store_true", help="write numbers of 16 bits, which take half the space"
        )
        subparser.add_argument(
            "--output-format", choices=[HDF5, NPZ], help="npz where the output file ends in .npz, else hdf5"
        )
        add_cluster_arguments(subparser, "with --scheduler local: so many processes (default: one a core)")
        subparser.set_defaults(func=partial(embed_from_args, subparser))
        return subparser


def embed_from_args(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Runs the command; leaves with status 2 for arguments that make no sense, 1 and one line where it cannot be done."""
    check_model_arguments(parser, args)
    if args.batch_size < 1:
        parser.error(f"--batch-size must be at least 1, got {args.batch_size}")
    check_cluster_arguments(parser, args)
    if args.scheduler is None and args.processes is not None:
        parser.error("--processes goes with --scheduler local")
    with failing_in_one_line("nothing is lost; the same command goes on"):
        files = EmbedderFiles(
            args.model or args.options_file,
            args.weight_file,
            args.vocab_file,
            args.token_embedding_file,
            str(device_of(args.cuda_device)),
            args.batch_size,
            args.mix,
        )
        if args.scheduler is None:
            _embed_one(args, files)
        else:
            _embed_shards(args, files)


def _embed_one(args: argparse.Namespace, files: EmbedderFiles) -> None:
    output_file = Path(args.output_file)
    check_new(output_file)
    if args.output_format is None:
        check_suffix(output_file, "output_file", [*HDF5_SUFFIXES, ".npz"], ", unless --output-format is given")
    settings = _settings(args, NPZ if output_file.suffix.lower() == ".npz" else HDF5)
    scan = embed_file(load_embedder(files), source_of(args.input_file), output_file, settings, progress_bar)
    blank = f", {count_in_words(scan.num_blank, 'blank line')} with no vectors" if scan.num_blank else ""
    print(f"wrote {output_file}: {_described(scan.num_words, scan.num_sentences)}{blank}")


def _embed_shards(args: argparse.Namespace, files: EmbedderFiles) -> None:
    total = num_bytes_to_read(args.input_file)
    with (
        cluster_of(args) as runner,
        Tqdm.tqdm(desc="embedding", unit="B", unit_scale=True, total=total) as bar,
    ):
        done = embed_shards(args.input_file, args.output_file, files, _settings(args, HDF5), runner, bar.update)
    print(
        f"wrote {count_in_words(done.num_shards, 'file')} in {args.output_file}: "
        f"{_described(done.num_words, done.num_sentences)}"
    )


def _described(num_words: int, num_sentences: int) -> str:
    return f"{count_in_words(num_words, 'word')} in {count_in_words(num_sentences, 'sentence')}"


def _settings(args: argparse.Namespace, default_format: str) -> EmbedSettings:
    layers: LayerOutput = ALL if args.all else TOP if args.top else SUM if args.sum else AVERAGE
    if args.mix is not None:
        layers = read_trained_mix(local_path(args.mix)).mix
    dtype = "float16" if args.float16 else "float32"
    output_format = args.output_format or default_format
    return EmbedSettings(layers, args.use_sentence_keys, args.forget_sentences, output_format, args.pool, dtype)


@contextmanager
def progress_bar(what: str, unit: str, total: int, done: int) -> Iterator[Callable[[int], object]]:
    """A bar on stderr with the rate and the time left."""
    with Tqdm.tqdm(desc=what, unit=unit, unit_scale=True, total=total, initial=done) as bar:
        yield bar.update
