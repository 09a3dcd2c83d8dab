"""The command `elmo-neighbors`."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Optional

from overrides import overrides

from allennlp_elmo_plus.commands.shared.command_line import (
    STREAMED_TEXT_HELP,
    ElmoCommand,
    UsageError,
    integer_from,
    progress_bar,
    refuse_to_replace,
)
from allennlp_elmo_plus.commands.shared.model_arguments import (
    MODEL_HELP,
    add_device_argument,
)
from allennlp_elmo_plus.data.text.text_files import iter_sentence_blocks, resolve_paths
from allennlp_elmo_plus.data.text.vocabulary import SPECIAL_WORDS, read_vocabulary
from allennlp_elmo_plus.errors import InputError, check_utf8, count_in_words
from allennlp_elmo_plus.formats.model_files import ModelSource
from allennlp_elmo_plus.formats.pretrained import read_model
from allennlp_elmo_plus.inference.neighbors import MAX_SENTENCE_WORDS, Neighbors, NeighborSearch, TokenInContext
from allennlp_elmo_plus.inference.neighbors_file import write_neighbors
from allennlp_elmo_plus.storage.atomic_files import optional_path

# Of a long sentence, this many words are shown before and after the word.
_SHOWN_WORDS = 8
_BLOCK_SENTENCES = 256


class ElmoNeighbors(ElmoCommand):
    """Print the nearest neighbours of words in context.

    For each word of a query, print the most similar words of the text in their sentences, and the most similar words without
    context, as in table 4 of Peters et al. 2018. The similarity is the cosine of the vectors of a biLM. The text is not held in
    memory; sentences of more than 1,000 words are left out.
    """

    example = """\
example:
  elmo-plus neighbors runs/bilm/model.tar.gz data/train.txt \\
    --query file 'Open the file for reading .' --query file 'Files are sorted by file name .'"""

    @overrides
    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("model", help=MODEL_HELP)
        parser.add_argument("text", help=f"the text to search: {STREAMED_TEXT_HELP}")
        parser.add_argument(
            "--query",
            nargs=2,
            action="append",
            required=True,
            metavar=("WORD", "SENTENCE"),
            help="a word and a sentence that contains it, in quotes; if it occurs several times, the first is meant. Repeat the "
            "option for more queries",
        )
        parser.add_argument(
            "--top", metavar="NUMBER", type=integer_from(1), default=5, help="neighbours to print, of each kind"
        )
        parser.add_argument(
            "--layer",
            metavar="NUMBER",
            type=integer_from(0),
            help="the layer whose vectors are compared in context; 0 is the context-free vector (default: the top layer)",
        )
        parser.add_argument(
            "--vocab",
            metavar="FILE",
            help="compare the words of this vocabulary file without context, instead of the words of the text. A biLM with word "
            "input whose directory has no vocab.txt needs its own vocabulary here",
        )
        parser.add_argument("--output", metavar="FILE", help="also write the result as JSON, for `elmo-plus report`")
        add_device_argument(parser)

    @overrides
    def run(self, args: argparse.Namespace) -> None:
        queries = []
        for word, sentence in args.query:
            check_utf8(sentence)
            words = tuple(sentence.split())
            if word not in words:
                raise UsageError(f"--query: {word!r} is not a word of the sentence {sentence!r}")
            queries.append(TokenInContext(words, words.index(word)))
        refuse_to_replace(args.output, [args.text], [args.model, args.vocab])
        with optional_path(args.output) as temporary:
            results = _search(args, queries)
            if temporary is not None:
                write_neighbors(temporary, results)
        _print(results)


def _search(args: argparse.Namespace, queries: Sequence[TokenInContext]) -> list[Neighbors]:
    # Before the model is read, so that a wrong name is refused at once.
    num_sentences = _num_sentences(args.text)
    stored = read_model(ModelSource(args.model), with_softmax=False)
    if stored.options.char_cnn is None and stored.vocabulary is None:
        if args.vocab is None:
            raise InputError(f"{args.model}: a biLM of word input needs its vocabulary; give it with --vocab")
        stored = read_model(ModelSource(args.model, vocab_file=args.vocab), with_softmax=False)
    encoder = stored.build_encoder().to(args.cuda_device).eval().requires_grad_(False)
    if args.layer is not None and args.layer >= encoder.num_layers:
        raise InputError(
            f"--layer must be from 0 to {encoder.num_layers - 1}, the layers of this biLM, got {args.layer}"
        )
    vocabulary = None
    if args.vocab is not None:
        vocabulary = [word for word in read_vocabulary(args.vocab) if word not in SPECIAL_WORDS]
    layer = -1 if args.layer is None else args.layer
    word_ids = {word: number for number, word in enumerate(stored.vocabulary or ())}
    search = NeighborSearch(encoder, queries, args.top, layer, vocabulary, word_ids)
    with progress_bar("comparing", " sentences", num_sentences) as advance:
        for block in iter_sentence_blocks(args.text):
            for first in range(0, len(block), _BLOCK_SENTENCES):
                sentences = block[first : first + _BLOCK_SENTENCES]
                search.add_text(sentences)
                advance(len(sentences))
    if search.num_skipped:
        skipped = count_in_words(search.num_skipped, "sentence")
        print(f"left out {skipped} of more than {MAX_SENTENCE_WORDS:,} words", file=sys.stderr)
    return search.result()


def _num_sentences(text: str) -> Optional[int]:
    # A pipe can be read only once.
    if not all(map(os.path.isfile, resolve_paths(text))):
        return None
    return sum(map(len, iter_sentence_blocks(text)))


def _print(results: Sequence[Neighbors]) -> None:
    for number, (query, context_free, contextual) in enumerate(results):
        if number:
            print()
        print(f"{query.word}\n  without its context")
        for near_word in context_free:
            print(f"    {near_word.similarity:6.3f}  {near_word.word}")
        print(f"  in {excerpt(query)}")
        for near_token in contextual:
            print(f"    {near_token.similarity:6.3f}  {excerpt(near_token.token)}")


def excerpt(token: TokenInContext) -> str:
    """Return the words around `token`, which is in brackets."""
    before, after = token.sentence[: token.position], token.sentence[token.position + 1 :]
    words = [*before[-_SHOWN_WORDS:], f"[{token.word}]", *after[:_SHOWN_WORDS]]
    return " ".join([*["..."] * (len(before) > _SHOWN_WORDS), *words, *["..."] * (len(after) > _SHOWN_WORDS)])
