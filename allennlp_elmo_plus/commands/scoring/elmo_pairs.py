"""The command `elmo-pairs`."""

import argparse
import json
from collections.abc import Sequence

from overrides import overrides
from tqdm import tqdm

from allennlp_elmo_plus.commands.shared.command_line import ElmoCommand, refuse_to_replace
from allennlp_elmo_plus.commands.shared.model_arguments import (
    MODEL_HELP,
    add_device_argument,
    add_vocab_file_argument,
)
from allennlp_elmo_plus.data.text.minimal_pairs import read_pairs
from allennlp_elmo_plus.data.text.raw.segmentation import Segmenter
from allennlp_elmo_plus.formats.model_files import ModelSource
from allennlp_elmo_plus.inference.scoring.minimal_pairs import (
    PairScore,
    accuracy,
    accuracy_by_phenomenon,
    score_pairs,
)
from allennlp_elmo_plus.inference.scoring.word_log_probs import WordScorer
from allennlp_elmo_plus.report.pairs_page import Block, pairs_page
from allennlp_elmo_plus.storage.atomic_files import optional_path

_NAME_WIDTH = 50


class ElmoPairs(ElmoCommand):
    """Test a biLM on minimal pairs, such as those of BLiMP and Zorro.

    A minimal pair is an acceptable and an unacceptable sentence. The biLM is right if the acceptable one is more probable; equally
    probable sentences count half. There are three scores: the probability in the forward direction, that in the backward direction,
    and the product of both. Each sentence is read by itself. A word that the vocabulary lacks is read by its characters, but its
    probability is that of <UNK>, all such words together; so pairs with such words are counted apart.
    """

    example = """\
examples:
  elmo-plus pairs runs/bilm/model.tar.gz zorro/*.txt --output-file scores.jsonl
    two lines per pair, the unacceptable sentence first, spaces between words
  elmo-plus pairs runs/bilm/model.tar.gz blimp/*.jsonl --language en --page pairs.html
    JSON lines with sentence_good and sentence_bad, whose words are not separated
  elmo-plus pairs runs/bilm/model.tar.gz pairs.tsv
    a table with the columns acceptable, unacceptable and, if you like, phenomenon"""

    @overrides
    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("model", help=MODEL_HELP)
        parser.add_argument(
            "files",
            nargs="+",
            metavar="FILE",
            help="the pairs: JSON lines, a table with tabs, or two lines per pair; the first line of a file tells which. A file, a "
            "directory or a pattern; files may be compressed (.gz); - reads standard input",
        )
        parser.add_argument(
            "--language",
            metavar="CODE",
            help="split sentences into words by the rules that spaCy has for this language, as `elmo-plus prepare` does (default: "
            "spaces separate words)",
        )
        add_vocab_file_argument(parser)
        parser.add_argument(
            "--output-file",
            metavar="FILE",
            help="also write a JSON object per pair, with its log-probabilities in nats",
        )
        parser.add_argument("--page", metavar="FILE", help="also write the table as a page with bars, for a browser")
        add_device_argument(parser)

    @overrides
    def run(self, args: argparse.Namespace) -> None:
        for output in (args.output_file, args.page):
            refuse_to_replace(output, args.files, [args.model, args.vocab_file])
        split = _split_at_spaces if args.language is None else Segmenter(args.language).words
        # All files are read first, so that a damaged one is refused at once.
        pairs = [pair for spec in args.files for pair in read_pairs(spec, split)]
        with optional_path(args.output_file) as output_file, optional_path(args.page) as page:
            scorer = WordScorer.from_source(ModelSource(args.model, vocab_file=args.vocab_file), args.cuda_device)
            scores = list(tqdm(score_pairs(scorer, pairs), "scoring", len(pairs), unit=" pairs"))
            if output_file is not None:
                lines = (f"{json.dumps(score.as_dict(), ensure_ascii=False)}\n" for score in scores)
                output_file.write_text("".join(lines), encoding="utf-8")
            blocks = _blocks(scores)
            if page is not None:
                page.write_text(pairs_page(args.model, blocks), encoding="utf-8", errors="replace")
        print("right judgements in percent\n")
        print("\n\n".join(map(_table, blocks)))


def _split_at_spaces(texts: Sequence[str]) -> list[list[str]]:
    return [text.split() for text in texts]


def _blocks(scores: Sequence[PairScore]) -> list[Block]:
    """Return the accuracies by phenomenon of the pairs whose words are all in the vocabulary, of the other pairs, and of all pairs."""
    known = [score for score in scores if not score.unknown_words]
    unknown = [score for score in scores if score.unknown_words]
    blocks = []
    for title, part in (("words in the vocabulary", known), ("a word outside the vocabulary", unknown)):
        if part:
            rows = accuracy_by_phenomenon(part)
            blocks.append(Block(title, {**rows, "all": accuracy(part)} if len(rows) > 1 else rows))
    return [*blocks, Block("all pairs", {"all": accuracy(scores)})] if known and unknown else blocks


def _table(block: Block) -> str:
    """Return `block` as a table of at most 80 columns; longer names are truncated."""
    widths = {score: max(len(score), len("100.0")) + 1 for score in next(iter(block.rows.values())).correct}
    head = "".join(f"{score:>{width}}" for score, width in widths.items())
    lines = [f"{block.title:<{_NAME_WIDTH}}{'pairs':>6}{head}"]
    for phenomenon, row in block.rows.items():
        name = phenomenon if len(phenomenon) < _NAME_WIDTH else f"{phenomenon[: _NAME_WIDTH - 4]}..."
        shares = "".join(f"{100 * row.correct[score]:>{width}.1f}" for score, width in widths.items())
        lines.append(f"{name:<{_NAME_WIDTH}}{row.num_pairs:>6}{shares}")
    return "\n".join(lines)
