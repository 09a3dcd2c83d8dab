"""The command `elmo-cache`."""

import argparse
from pathlib import Path

from overrides import overrides

from allennlp_elmo_plus.commands.shared.command_line import ElmoCommand, progress_bar, refuse_to_replace
from allennlp_elmo_plus.commands.shared.model_arguments import (
    add_model_arguments,
    check_model_arguments,
)
from allennlp_elmo_plus.errors import InputError, count_in_words
from allennlp_elmo_plus.formats.model_files import ModelSource, find_vocabulary
from allennlp_elmo_plus.formats.pretrained import read_model
from allennlp_elmo_plus.formats.token_embeddings import write_token_embeddings, write_word2vec
from allennlp_elmo_plus.storage.atomic_files import HDF5_SUFFIXES, check_suffix

# A file with one of these suffixes is written in the format of word2vec.
TEXT_SUFFIXES = (".vec", ".txt")


class ElmoCache(ElmoCommand):
    """Write the context-free vectors of a biLM's vocabulary to a file.

    A biLM computes these vectors from the characters of each word. With an HDF5 file they need not be computed again: give it to
    `elmo` as --token-embedding-file, to the token embedder `bilm` as `token_embedding_file`, or to bilm-tf.

    A file whose name ends in .vec or .txt is text in the format of word2vec, for gensim, fastText's tools and spaCy.
    """

    example = """\
example:
  elmo-plus cache words.hdf5 --model runs/bilm/model.tar.gz
    writes words.hdf5: the dataset `embedding` of shape (words, projection_dim), as bilm-tf's dump_token_embeddings does
  elmo-plus cache words.vec --model runs/bilm/model.tar.gz
    writes words.vec: the number of words and projection_dim, then one word with its numbers per line"""

    @overrides
    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "output_file", help="the HDF5 file, or .vec or .txt, to write; an existing file is replaced"
        )
        add_model_arguments(parser)

    @overrides
    def run(self, args: argparse.Namespace) -> None:
        check_model_arguments(args)
        beside_weights = None if args.weight_file is None else find_vocabulary(Path(args.weight_file).parent)
        inputs = [args.model, args.options_file, args.weight_file, args.vocab_file or beside_weights]
        refuse_to_replace(args.output_file, files=inputs)
        check_suffix(args.output_file, "output_file", (*HDF5_SUFFIXES, *TEXT_SUFFIXES))
        source = ModelSource(args.model or args.options_file, args.weight_file, args.vocab_file)
        stored = read_model(source, with_softmax=False)
        words = stored.vocabulary
        if words is None:
            raise InputError(f"{source.path}: holds no vocabulary; give one with --vocab-file")
        encoder = stored.build_encoder().to(args.cuda_device)
        is_text = args.output_file.lower().endswith(TEXT_SUFFIXES)
        write = write_word2vec if is_text else write_token_embeddings
        with progress_bar("encoding", "word", len(words)) as advance:
            write(args.output_file, encoder, words, advance)
        print(f"wrote {args.output_file}: {count_in_words(len(words), 'word')}")
