"""The command `elmo-prepare`."""

import argparse
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from overrides import overrides

from allennlp_elmo_plus.commands.shared.command_line import ElmoCommand, integer_from, progress_bar
from allennlp_elmo_plus.data.text.raw.documents import iter_documents
from allennlp_elmo_plus.data.text.raw.preparation import HELDOUT_FILE, TRAIN_FILE, PartCounts, prepare
from allennlp_elmo_plus.data.text.text_files import is_named_by
from allennlp_elmo_plus.data.text.word_counts import num_bytes_to_read
from allennlp_elmo_plus.errors import InputError, count_in_words
from allennlp_elmo_plus.kernels.processor import num_usable_cores

# Each additional process imports spaCy and PyTorch, in the time in which one process splits about this much text.
BYTES_PER_PROCESS = 1 << 24


class ElmoPrepare(ElmoCommand):
    """Make a training text and a held-out text from raw text.

    The raw text is plain text, JSON lines, or a table (CSV, TSV). Each paragraph of plain text is a document, and so is each record
    of JSON lines or a table. The command splits documents into sentences and words by the rules of spaCy, leaves out documents that
    repeat an earlier one, and holds out some documents. It writes DIRECTORY/train.txt and DIRECTORY/heldout.txt, with one sentence per
    line and spaces between words. The hash of a document decides whether it is held out: the order of the documents makes no
    difference.
    """

    example = """\
examples:
  elmo-plus prepare 'books/*.txt' data --language en
    plain text, in which blank lines separate paragraphs
  elmo-plus prepare articles.txt.gz data --language de --paragraph-per-line
  elmo-plus prepare 'petitions/*.jsonl' data --field content --language xx
  elmo-plus prepare reviews.csv data --field review_text --language en --heldout-percent 2
  elmo-plus prepare segmented.txt data --tokenized
    text whose words another program has separated by spaces"""

    @overrides
    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "text",
            help="the raw text, in UTF-8: a file, a directory, a pattern such as 'books/*.txt' in quotes, or several of these "
            "separated by commas; - reads standard input. Names that end in .csv or .tsv are tables. Files may be compressed (.gz)",
        )
        parser.add_argument("directory", help=f"the directory to write {TRAIN_FILE} and {HELDOUT_FILE} to")
        words = parser.add_mutually_exclusive_group(required=True)
        words.add_argument(
            "--language",
            metavar="CODE",
            help="the language whose rules split the text, a code of spaCy: en, de, fr, ...; xx for any other language that separates "
            "words by spaces",
        )
        words.add_argument("--tokenized", action="store_true", help="white space separates the words already")
        parser.add_argument(
            "--field",
            metavar="NAME",
            help="the column that holds the text, or its key in JSON lines: with this option, files other than tables are JSON lines",
        )
        parser.add_argument(
            "--paragraph-per-line",
            action="store_true",
            help="each line is a paragraph (default: blank lines separate paragraphs)",
        )
        parser.add_argument(
            "--heldout-percent",
            metavar="PERCENT",
            type=float,
            default=5.0,
            help="the share of the documents that is held out (default: %(default)g)",
        )
        parser.add_argument("--overwrite", action="store_true", help="replace existing files")
        parser.add_argument(
            "--processes",
            metavar="NUMBER",
            type=integer_from(1),
            help="the number of processes that split the text (default: one per core, but at most one per "
            f"{BYTES_PER_PROCESS >> 20} MB of text)",
        )

    @overrides
    def run(self, args: argparse.Namespace) -> None:
        outputs = [Path(args.directory, name) for name in (TRAIN_FILE, HELDOUT_FILE)]
        for path in outputs:
            if is_named_by(args.text, path):
                raise InputError(f"{path} must not be both read and written: choose another directory")
        num_bytes = num_bytes_to_read(args.text)
        num_processes = args.processes or min(num_usable_cores(), 1 + (num_bytes or 0) // BYTES_PER_PROCESS)
        try:
            with progress_bar("splitting", "B", num_bytes) as advance:
                documents = iter_documents(args.text, args.field, args.paragraph_per_line, advance)
                counts = prepare(
                    documents, args.directory, args.language, args.heldout_percent, args.overwrite, num_processes
                )
        except BrokenProcessPool:
            raise InputError(
                f"`{args.text}`: a process was killed, perhaps because it ran out of memory: try fewer `--processes`"
            ) from None
        print(
            f"read      {count_in_words(counts.num_documents, 'document')}; left out: "
            f"{count_in_words(counts.num_duplicates, 'duplicate')}, {counts.num_empty:,} without text"
        )
        for title, part, path in (("train", counts.train, outputs[0]), ("held out", counts.heldout, outputs[1])):
            print(f"{title:<10}{_part_in_words(part)}: {path}")


def _part_in_words(part: PartCounts) -> str:
    return (
        f"{count_in_words(part.num_documents, 'document')}, {count_in_words(part.num_sentences, 'sentence')}, "
        f"{count_in_words(part.num_words, 'word')}"
    )
