"""The command `elmo-surprisal`."""

import argparse
import math
import sys
from collections.abc import Iterator
from itertools import tee

from overrides import overrides

from allennlp_elmo_plus.commands.shared.command_line import STREAMED_TEXT_HELP, ElmoCommand, progress_bar
from allennlp_elmo_plus.commands.shared.model_arguments import MODEL_HELP, add_device_argument, add_vocab_file_argument
from allennlp_elmo_plus.data.text.text_files import iter_sentences, resolve_paths
from allennlp_elmo_plus.formats.model_files import ModelSource
from allennlp_elmo_plus.inference.scoring.word_log_probs import WordScorer


class ElmoSurprisal(ElmoCommand):
    """Print the surprisal of each word of a text, in bits.

    The surprisal of a word is -log2 of its probability: in the forward direction given all words before it in its sentence, in the
    backward direction given all words after it. It is exact: the softmax is over the whole vocabulary. Each sentence is read by itself. A
    word that the vocabulary lacks is read by its characters, but its surprisal is that of <UNK>, all such words together.

    The output is a table with tabs between its columns: the number of the sentence (its line in the text) and of the word in it, both
    from 1, the word, its surprisal in each direction, and whether the vocabulary has it, `true` or `false`. A forward-only biLM has no
    column `backward_bits`.
    """

    example = """\
examples:
  elmo-plus surprisal runs/bilm/model.tar.gz stories.txt > surprisal.tsv
  echo 'The horse raced past the barn fell .' | elmo-plus surprisal runs/bilm/model.tar.gz -"""

    @overrides
    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("model", help=MODEL_HELP)
        parser.add_argument("text", help=STREAMED_TEXT_HELP)
        add_vocab_file_argument(parser)
        add_device_argument(parser)

    @overrides
    def run(self, args: argparse.Namespace) -> None:
        resolve_paths(args.text)  # A missing file is an error before the model is read.
        scorer = WordScorer.from_source(ModelSource(args.model, vocab_file=args.vocab_file), args.cuda_device)
        directions = ["forward_bits", "backward_bits"][: 1 + scorer.is_bidirectional]
        print("sentence", "position", "word", *directions, "in_vocabulary", sep="\t")
        with progress_bar("scoring", " sentences", None) as advance:
            for line in _rows(scorer, args.text):
                sys.stdout.write(line)
                advance(1)


def _rows(scorer: WordScorer, text: str) -> Iterator[str]:
    """Yield the rows of each sentence."""
    sentences, to_score = tee(iter_sentences(text))
    for number, (words, (forward, backward)) in enumerate(zip(sentences, scorer.log_probs(to_score)), 1):
        columns = [forward[: len(words)], *([] if backward is None else [backward[1:]])]
        bits = zip(*((column / -math.log(2)).tolist() for column in columns), strict=True)
        yield "".join(
            f"{number}\t{position}\t{word}\t"
            + "".join(f"{value:.4f}\t" for value in values)
            + f"{str(scorer.is_known(word)).lower()}\n"
            for position, (word, values) in enumerate(zip(words, bits, strict=True), 1)
        )
