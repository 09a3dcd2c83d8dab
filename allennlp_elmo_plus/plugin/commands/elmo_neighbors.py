"""The command `allennlp elmo-neighbors`."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, Optional

import torch
from allennlp.commands.subcommand import Subcommand

from allennlp_elmo_plus.data.text.text_files import iter_sentence_blocks, resolve_paths
from allennlp_elmo_plus.data.text.vocabulary import read_vocabulary
from allennlp_elmo_plus.errors import InputError, count_in_words
from allennlp_elmo_plus.formats.model_files import ModelSource
from allennlp_elmo_plus.formats.pretrained import read_model
from allennlp_elmo_plus.inference.neighbors import (
    MAX_SENTENCE_WORDS,
    Neighbors,
    NeighborSearch,
    TokenInContext,
)
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.modules.token_encoder import WordEncoder
from allennlp_elmo_plus.plugin.commands.command_line import failing_in_one_line, integer_from, progress_bar
from allennlp_elmo_plus.storage.atomic_files import atomic_path

# Of a long sentence, so many words before and after the one that is meant are shown.
SHOWN_AROUND = 8
DEFAULT_NEIGHBORS = 5

_EXAMPLE = """\
example:
  allennlp elmo-neighbors runs/bilm/model.tar.gz data/train.txt \\
    --query file 'Open the file for reading .' --query file 'Files are sorted by file name .'"""


@Subcommand.register("elmo-neighbors")
class ElmoNeighbors(Subcommand):
    """Prints what a pretrained biLM finds nearest to a word in its sentence, beside what it finds nearest to the word alone, as in
    table 4 of Peters et al. 2018, for the user's own text.
    """

    def add_subparser(self, parser: argparse._SubParsersAction) -> argparse.ArgumentParser:
        subparser = parser.add_parser(
            self.name,
            description=(
                "Print the nearest neighbours of words in their sentences among all tokens of a text, by the cosine of a layer's "
                "vectors, beside the nearest words without any context, by the cosine of the token representations. The text is "
                f"read once and not held in memory; sentences of more than {MAX_SENTENCE_WORDS:,} words are left out."
            ),
            help="Print the nearest neighbours of words in context.",
            epilog=_EXAMPLE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        subparser.add_argument(
            "model",
            type=str,
            help="a biLM of bilm-tf in any form that `elmo --model` reads: an archive, a directory, a zip or a URL",
        )
        subparser.add_argument(
            "text",
            type=str,
            help="where to look: a file, a directory, a glob in quotes, several of these separated by commas, or - for standard "
            "input; plain or .gz; one sentence a line, words separated by white space",
        )
        subparser.add_argument(
            "--query",
            nargs=2,
            action="append",
            required=True,
            metavar=("WORD", "SENTENCE"),
            help="a word and a sentence it is in, in quotes; where it is in it more than once the first is meant; may be repeated",
        )
        subparser.add_argument(
            "--top",
            type=integer_from(1),
            default=DEFAULT_NEIGHBORS,
            help=f"how many neighbours to print of each kind (default: {DEFAULT_NEIGHBORS})",
        )
        subparser.add_argument(
            "--layer",
            type=integer_from(0),
            help="the layer to compare in context, 0 being the token representation (default: the top one)",
        )
        subparser.add_argument(
            "--vocab",
            metavar="FILE",
            help="a vocabulary file, among whose words those without context are looked for (default: the words of the text); a "
            "biLM that takes words, given as a directory, needs the one it was trained with",
        )
        subparser.add_argument("--output", metavar="FILE", help="write the result as JSON too, for elmo-report")
        subparser.add_argument(
            "--cuda-device", type=integer_from(-1), default=-1, help="the GPU to use (default: -1, none)"
        )
        subparser.set_defaults(func=neighbors_from_args, usage_error=subparser.error)
        return subparser


def neighbors_from_args(args: argparse.Namespace) -> None:
    """Runs the command; leaves with status 1 and one line on stderr where it cannot be done, 2 for wrong usage."""
    queries = []
    for word, sentence in args.query:
        words = tuple(sentence.split())
        if word not in words:
            args.usage_error(f"--query: {word!r} is not a word of the sentence {sentence!r}")
        queries.append(TokenInContext(words, words.index(word)))
    if args.cuda_device >= torch.cuda.device_count():
        args.usage_error(
            f"--cuda-device must be below {torch.cuda.device_count()}, the GPUs here, got {args.cuda_device}"
        )
    with failing_in_one_line():
        if args.output is None:
            _print(_find(args, queries))
        else:
            # Around the search too: that the file cannot be written is known before.
            with atomic_path(args.output) as temporary:
                found = _find(args, queries)
                temporary.write_text(json.dumps(_as_json(found), ensure_ascii=False, indent=1), encoding="utf-8")
            _print(found)


def _find(args: argparse.Namespace, queries: Sequence[TokenInContext]) -> list[Neighbors]:
    stored = read_model(ModelSource(args.model), with_softmax=False)
    encoder = stored.build_encoder().eval()
    if args.cuda_device >= 0:
        encoder.cuda(args.cuda_device)
    encoder.requires_grad_(False)
    if args.layer is not None and args.layer >= encoder.num_layers:
        raise InputError(
            f"--layer must be from 0 to {encoder.num_layers - 1}, the layers of this biLM, got {args.layer}"
        )
    vocabulary = None if args.vocab is None else read_vocabulary(args.vocab)
    word_ids = _word_ids(encoder, stored.vocabulary or vocabulary)
    search = NeighborSearch(encoder, queries, args.top, -1 if args.layer is None else args.layer, vocabulary, word_ids)
    with progress_bar(_num_lines(args.text), " sentences", desc="comparing") as bar:
        for block in iter_sentence_blocks(args.text):
            for first in range(0, len(block), 256):
                search.add_text(block[first : first + 256])
                bar.update(len(block[first : first + 256]))
    if search.num_skipped:
        print(
            f"left out, as of more than {MAX_SENTENCE_WORDS:,} words: {count_in_words(search.num_skipped, 'sentence')}",
            file=sys.stderr,
        )
    return search.result()


def _word_ids(encoder: BiLMEncoder, vocabulary: Optional[list[str]]) -> Optional[dict[str, int]]:
    if not isinstance(encoder.token_encoder, WordEncoder):
        return None
    if vocabulary is None:
        raise InputError("this biLM takes words: the vocabulary that it was trained with must be given with --vocab")
    num_words = len(encoder.token_encoder.embedding)
    if len(vocabulary) != num_words:
        raise InputError(
            f"--vocab must have {count_in_words(num_words, 'word')}, as this biLM has, got {len(vocabulary):,}"
        )
    return {word: number for number, word in enumerate(vocabulary)}


def _num_lines(text: str) -> Optional[int]:
    """For the bar; None where the text can be read only once."""
    if not all(map(os.path.isfile, resolve_paths(text))):
        return None
    return sum(map(len, iter_sentence_blocks(text)))


def _print(found: Sequence[Neighbors]) -> None:
    for number, (query, context_free, contextual) in enumerate(found):
        if number:
            print()
        print(f"{query.word}\n  without its context")
        for near_word in context_free:
            print(f"    {near_word.similarity:6.3f}  {near_word.word}")
        print(f"  in {shown(query)}")
        for near_token in contextual:
            print(f"    {near_token.similarity:6.3f}  {shown(near_token.token)}")


def shown(token: TokenInContext) -> str:
    """The sentence around the word, which is set in brackets."""
    before, after = token.sentence[: token.position], token.sentence[token.position + 1 :]
    words = [*before[-SHOWN_AROUND:], f"[{token.word}]", *after[:SHOWN_AROUND]]
    return " ".join([*["..."] * (len(before) > SHOWN_AROUND), *words, *["..."] * (len(after) > SHOWN_AROUND)])


def _as_json(found: Sequence[Neighbors]) -> list[dict[str, Any]]:
    def of(token: TokenInContext) -> dict[str, Any]:
        return {"sentence": list(token.sentence), "position": token.position}

    return [
        {
            **of(query),
            "context_free": [near._asdict() for near in context_free],
            "contextual": [{"similarity": near.similarity, **of(near.token)} for near in contextual],
        }
        for query, context_free, contextual in found
    ]
