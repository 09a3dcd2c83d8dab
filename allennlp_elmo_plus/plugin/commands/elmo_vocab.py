"""The command `allennlp elmo-vocab`."""

import argparse
import sys
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Optional

from allennlp.commands.subcommand import Subcommand

from allennlp_elmo_plus.cluster.counts import count_shards, remove_counts
from allennlp_elmo_plus.data.text.characters import DEFAULT_MAX_CHARACTERS
from allennlp_elmo_plus.data.text.truncation import truncated_words
from allennlp_elmo_plus.data.text.vocabulary import (
    SPECIAL_WORDS,
    examine_vocabulary,
    order_by_frequency,
    write_vocabulary,
)
from allennlp_elmo_plus.data.text.vocabulary_check import coverage, misplaced_special_words, order_faults
from allennlp_elmo_plus.data.text.word_counts import count_words, num_bytes_to_read
from allennlp_elmo_plus.errors import InputError, count_in_words
from allennlp_elmo_plus.plugin.commands.cluster_arguments import (
    add_cluster_arguments,
    check_cluster_arguments,
    cluster_of,
)
from allennlp_elmo_plus.plugin.commands.command_line import (
    failing_in_one_line,
    integer_from,
    num_usable_cores,
    progress_bar,
)
from allennlp_elmo_plus.storage.atomic_files import atomic_path

MAX_PROBLEMS_SHOWN = 20

# Each further process imports AllenNLP anew, in which time one counts about this much.
BYTES_WORTH_A_PROCESS = 1 << 27

_EXAMPLE = """\
examples:
  allennlp elmo-vocab 'corpus/*.txt.gz' --output vocab.txt --min-count 3 --max-size 200000
  allennlp elmo-vocab 'corpus/*.txt.gz' --check vocab.txt
  allennlp elmo-vocab --check vocab.txt
  allennlp elmo-vocab 'corpus/*.txt.gz' --output vocab.txt --scheduler tcp://node1:8786
a config takes the file as `vocabulary: {type: 'bilm', vocab_file: 'vocab.txt'}`"""


@Subcommand.register("elmo-vocab")
class ElmoVocab(Subcommand):
    """Counts the words of a text into a vocabulary file, or checks such a file, and reports what it covers."""

    def add_subparser(self, parser: argparse._SubParsersAction) -> argparse.ArgumentParser:
        subparser = parser.add_parser(
            self.name,
            description=(
                "Write a vocabulary file as bilm-tf reads it: a word a line, <S>, </S> and <UNK> first, then by falling "
                "frequency; or check one. The share of the text that the vocabulary covers is printed, and that of words "
                f"cut for being longer than {DEFAULT_MAX_CHARACTERS - 2} bytes of UTF-8. Where a check finds a fault, the "
                "exit status is 1."
            ),
            help="Write the vocabulary of a text, or check a vocabulary file.",
            epilog=_EXAMPLE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        subparser.add_argument(
            "text",
            type=str,
            nargs="?",
            help="a file, a directory, a glob in quotes, several of these separated by commas, or - for standard input; plain "
            "or .gz; one sentence a line, words separated by white space",
        )
        what = subparser.add_mutually_exclusive_group(required=True)
        what.add_argument(
            "--output", metavar="FILE", help="the vocabulary file to write; one that is there is replaced"
        )
        what.add_argument(
            "--check",
            metavar="FILE",
            help="a vocabulary file to check: special words, duplicates and lines that are no word and, with the text to "
            "train on, the order, which the sampled softmax assumes to be that of falling frequency",
        )
        subparser.add_argument(
            "--min-count", type=integer_from(1), help="leave out words that occur less often (default: 1)"
        )
        subparser.add_argument(
            "--max-size",
            type=integer_from(len(SPECIAL_WORDS) + 1),
            help=f"the most entries to keep, {', '.join(SPECIAL_WORDS)} included (default: all)",
        )
        add_cluster_arguments(
            subparser,
            f"count by so many processes (default: one a core, no more than one for {BYTES_WORTH_A_PROCESS >> 20} MB)",
        )
        subparser.add_argument(
            "--encoding-errors",
            choices=["strict", "replace"],
            default="strict",
            help="refuse bytes that are not UTF-8, or read each as U+FFFD (default: strict)",
        )
        subparser.set_defaults(func=partial(vocab_from_args, subparser))
        return subparser


def vocab_from_args(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Runs the command; leaves with status 1 where it cannot be done or the file checked has a fault, 2 for wrong usage."""
    if args.output is not None and args.text is None:
        parser.error("a text is needed with --output")
    check_cluster_arguments(parser, args)
    if args.scheduler is not None and args.output is None:
        parser.error("--scheduler goes with --output")
    if args.check is not None:
        for name in ("min_count", "max_size"):
            if getattr(args, name) is not None:
                parser.error(f"--{name.replace('_', '-')} goes with --output")
    with failing_in_one_line("no file was written" if args.output else "nothing was changed"):
        if args.output is not None:
            _write(args)
        else:
            _check(args)


def _write(args: argparse.Namespace) -> None:
    # Around the counting too: that the file cannot be written is known before hours are spent.
    with atomic_path(args.output) as temporary:
        counts = _counts(args)
        words = order_by_frequency(counts, args.min_count or 1, args.max_size)
        write_vocabulary(temporary, words)
    remove_counts(_counts_of_shards(args))
    _report(args, words, counts)
    print(f"wrote {args.output}")


def _check(args: argparse.Namespace) -> None:
    words, problems = examine_vocabulary(args.check)
    problems += [f"{args.check}: {problem}" for problem in misplaced_special_words(words)]
    counts: Optional[Counter[str]] = None
    if args.text is not None:
        counts = _counts(args)
        faults = order_faults(words, counts)
        if faults is not None:
            problems.append(
                f"{args.check}: not in the order of falling frequency; places where it rises: {faults.num_faults:,}, the first at "
                f"{faults.first_word!r} on line {faults.first_line:,}; {faults.worst_word!r} on line {faults.worst_line:,} "
                f"belongs on line {faults.worst_rank:,}"
            )
    _report(args, words, counts)
    if counts is None:
        print("order       not checked: that takes the text to train on")
    if problems:
        for problem in problems[:MAX_PROBLEMS_SHOWN]:
            print(problem, file=sys.stderr)
        if len(problems) > MAX_PROBLEMS_SHOWN:
            print(f"and {len(problems) - MAX_PROBLEMS_SHOWN:,} more", file=sys.stderr)
        sys.exit(1)
    print(f"{args.check}: no fault found")


def _counts(args: argparse.Namespace) -> Counter[str]:
    num_bytes = num_bytes_to_read(args.text)
    if args.scheduler is not None:
        with (
            cluster_of(args) as runner,
            progress_bar(num_bytes, "B", unit_scale=True, desc="counting words") as bar,
        ):
            return count_shards(args.text, _counts_of_shards(args), runner, bar.update, args.encoding_errors)
    processes = args.processes or min(num_usable_cores(), 1 + (num_bytes or 0) // BYTES_WORTH_A_PROCESS)
    with progress_bar(num_bytes, "B", unit_scale=True, desc="counting words") as bar:
        try:
            return count_words(args.text, args.encoding_errors, processes, bar.update)
        except BrokenProcessPool:
            raise InputError(
                f"`{args.text}`: a process that counted was killed, perhaps for want of memory: try fewer `--processes`"
            ) from None


def _counts_of_shards(args: argparse.Namespace) -> Path:
    """Where the workers leave them, beside the vocabulary that is to be."""
    return Path(f"{args.output}.shards").absolute()


def _report(args: argparse.Namespace, words: list[str], counts: Optional[Counter[str]]) -> None:
    print(f"vocabulary  {count_in_words(len(words), 'entry', 'entries')}")
    if counts is None:
        return
    covered, cut = coverage(words, counts), truncated_words(counts)
    print(f"text        {count_in_words(covered.num_words, 'word')}, {covered.num_types:,} distinct")
    print(
        f"coverage    {covered.num_known_words / covered.num_words:.3%} of the words, "
        f"{covered.num_known_types / covered.num_types:.3%} of the distinct ones; the others are <UNK> as targets"
    )
    examples = f", such as {', '.join(cut.examples)}" if cut.examples else ""
    print(
        f"cut         {cut.share:.4%} of the words ({cut.num_words:,}, {cut.num_types:,} distinct) are longer than "
        f"{DEFAULT_MAX_CHARACTERS - 2} bytes of UTF-8{examples}"
    )
