"""The command `elmo`."""

import argparse
from pathlib import Path

from overrides import overrides

from allennlp_elmo_plus.cluster.embedding import embed_shards
from allennlp_elmo_plus.commands.shared.cluster_arguments import (
    add_cluster_arguments,
    check_cluster_arguments,
    shard_runner,
)
from allennlp_elmo_plus.commands.shared.command_line import ElmoCommand, integer_from, progress_bar, refuse_to_replace
from allennlp_elmo_plus.commands.shared.model_arguments import (
    MODEL_HELP,
    add_model_arguments,
    check_model_arguments,
)
from allennlp_elmo_plus.data.text.text_files import source_of
from allennlp_elmo_plus.errors import InputError, count_in_words
from allennlp_elmo_plus.formats.model_files import local_path
from allennlp_elmo_plus.formats.trained_mix import read_trained_mix
from allennlp_elmo_plus.inference.embed_file import HDF5, NPZ, EmbedSettings, embed_file
from allennlp_elmo_plus.inference.embedder import DEFAULT_BATCH_SIZE, EmbedderFiles, load_embedder
from allennlp_elmo_plus.kernels.precision import PRECISIONS
from allennlp_elmo_plus.modules.layer_mix import ALL, AVERAGE, SUM, TOP
from allennlp_elmo_plus.storage.atomic_files import HDF5_SUFFIXES, check_suffix
from allennlp_elmo_plus.storage.resumable_hdf5 import check_new


class EmbedWithElmo(ElmoCommand):
    """Write the ELMo vectors of a text to a file.

    The file has one array per sentence, as in AllenNLP 0.9's command of this name. It appears only when it is complete. To resume
    after an interruption, run the same command again.
    """

    example = """\
examples:
  elmo-plus elmo sentences.txt vectors.hdf5 --all --model runs/bilm/model.tar.gz
    writes vectors.hdf5: line i of sentences.txt, counted from 0, becomes the dataset "i" of shape (3, words, 2 * projection_dim)
  elmo-plus elmo 'corpus/*.txt.gz' vectors --top --model runs/bilm/model.tar.gz --scheduler local --processes 8
    writes vectors/NAME.hdf5 for each file NAME of the corpus"""
    after_interruption = "nothing is lost; to resume, run the same command again"

    @overrides
    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "input_file",
            help="the text: one sentence per line, white space between words; a file, compressed if its name ends in .gz, or - for "
            "standard input. Of a FASTA file (.fasta, .faa, .fna) each character is a word, and the identifiers name the arrays. "
            "With --scheduler a directory, a pattern in quotes, or several files separated by commas",
        )
        parser.add_argument(
            "output_file",
            help="the file to write, which must not exist; with --scheduler a directory for one file per text",
        )
        layers = parser.add_mutually_exclusive_group(required=True)
        for option, choice, description in (
            ("--all", ALL, "write the vectors of all layers"),
            ("--top", TOP, "write the vectors of the top layer"),
            ("--average", AVERAGE, "write the average of all layers"),
            ("--sum", SUM, "write the sum of all layers"),
        ):
            layers.add_argument(option, action="store_const", dest="layers", const=choice, help=description)
        layers.add_argument(
            "--mix",
            metavar="ARCHIVE",
            help="write the weighted sum of the layers that the model in ARCHIVE has learned: the output of its token embedder, which "
            "must be of type `bilm`, before dropout and projection. The biLM in ARCHIVE computes the layers",
        )
        add_model_arguments(parser, f"{MODEL_HELP}; or a directory or a zip of ELMoForManyLangs")
        parser.add_argument(
            "--token-embedding-file",
            metavar="FILE",
            help="a file of `elmo-plus cache`: its words need not be computed again",
        )
        parser.add_argument(
            "--batch-size",
            metavar="TOKENS",
            type=integer_from(1),
            default=DEFAULT_BATCH_SIZE,
            help="tokens per batch; a sentence has two more tokens than words. A longer sentence is computed in parts, with the "
            "same result",
        )
        parser.add_argument(
            "--precision",
            choices=PRECISIONS,
            default="fp32",
            help="the type of matrix products; with bf16 a processor that has instructions for bfloat16 takes 0.6 of the time or "
            "less, and a vector differs by some thousandths of its length; fp32 is the default",
        )
        parser.add_argument(
            "--forget-sentences", action="store_true", help="leave out `sentence_to_index`, which holds the text"
        )
        parser.add_argument(
            "--use-sentence-keys",
            action="store_true",
            help="name each array by its sentence instead of the line number; a sentence that cannot be a name is refused",
        )
        parser.add_argument(
            "--pool", action="store_true", help="write one vector per sentence, the mean over its words"
        )
        parser.add_argument(
            "--float16", action="store_true", help="write numbers of 16 bits, which take half the space"
        )
        parser.add_argument(
            "--output-format", choices=[HDF5, NPZ], help="default: npz if output_file ends in .npz, otherwise hdf5"
        )
        add_cluster_arguments(parser)

    @overrides
    def run(self, args: argparse.Namespace) -> None:
        check_model_arguments(args)
        check_cluster_arguments(args)
        refuse_to_replace(args.output_file, files=[args.model])
        files = EmbedderFiles(
            args.model or args.options_file,
            args.weight_file,
            args.vocab_file,
            args.token_embedding_file,
            str(args.cuda_device),
            args.batch_size,
            args.precision,
            args.mix,
        )
        if args.scheduler is None:
            _embed_file(args, files)
        else:
            _embed_shards(args, files)


def _embed_file(args: argparse.Namespace, files: EmbedderFiles) -> None:
    source, output_file = source_of(args.input_file), Path(args.output_file)
    if isinstance(source, Path) and not source.exists():
        # Checked first: of two files in the wrong order, the text is then not taken for old vectors.
        raise InputError(f"`input_file`: there is no file `{source}`")
    check_new(output_file)
    if args.output_format is None:
        check_suffix(output_file, "output_file", [*HDF5_SUFFIXES, ".npz"], ", unless --output-format is given")
    settings = _settings(args, NPZ if output_file.suffix.lower() == ".npz" else HDF5)
    scan = embed_file(load_embedder(files), source, output_file, settings, progress_bar)
    blank = f", {count_in_words(scan.num_blank, 'blank line')} without vectors" if scan.num_blank else ""
    print(f"wrote {output_file}: {_describe(scan.num_words, scan.num_sentences)}{blank}")


def _embed_shards(args: argparse.Namespace, files: EmbedderFiles) -> None:
    with shard_runner(args, args.input_file, "embedding") as (runner, advance):
        done = embed_shards(args.input_file, args.output_file, files, _settings(args, HDF5), runner, advance)
    size = _describe(done.num_words, done.num_sentences)
    print(f"wrote {count_in_words(done.num_shards, 'file')} in {args.output_file}: {size}")


def _settings(args: argparse.Namespace, default_format: str) -> EmbedSettings:
    layers = args.layers or read_trained_mix(local_path(args.mix)).mix
    dtype = "float16" if args.float16 else "float32"
    output_format = args.output_format or default_format
    return EmbedSettings(layers, args.use_sentence_keys, args.forget_sentences, output_format, args.pool, dtype)


def _describe(num_words: int, num_sentences: int) -> str:
    return f"{count_in_words(num_words, 'word')} in {count_in_words(num_sentences, 'sentence')}"
