"""The command `elmo-vocab`."""

import argparse
import sys
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from overrides import overrides

from allennlp_elmo_plus.cluster.counts import count_shards, remove_counts
from allennlp_elmo_plus.commands.shared.cluster_arguments import (
    add_cluster_arguments,
    check_cluster_arguments,
    shard_runner,
)
from allennlp_elmo_plus.commands.shared.command_line import (
    STREAMED_TEXT_HELP,
    ElmoCommand,
    UsageError,
    add_encoding_errors_argument,
    integer_from,
    progress_bar,
    refuse_to_replace,
)
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
from allennlp_elmo_plus.kernels.processor import num_usable_cores
from allennlp_elmo_plus.storage.atomic_files import atomic_path

MAX_FAULTS_SHOWN = 20

# Each additional process imports AllenNLP again, in the time in which one process counts about this much text.
BYTES_PER_PROCESS = 1 << 27


class ElmoVocab(ElmoCommand):
    """Make or check a vocabulary file.

    A vocabulary file, as in bilm-tf, has one word per line: <S>, </S> and <UNK>, then the words of the text by decreasing frequency.
    The command prints how much of the text the vocabulary covers, and how many words are longer than 48 bytes (UTF-8), the part
    that a model reads. If a check finds a fault, the exit status is 1.
    """

    example = """\
examples:
  elmo-plus vocab 'corpus/*.txt.gz' --output vocab.txt --min-count 3 --max-size 200000
  elmo-plus vocab 'corpus/*.txt.gz' --output vocab.txt --scheduler tcp://node1:8786
    writes vocab.txt; in the config, write `vocabulary: {type: 'bilm', vocab_file: 'vocab.txt'}`
  elmo-plus vocab 'corpus/*.txt.gz' --check vocab.txt
  elmo-plus vocab --check vocab.txt"""

    @overrides
    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("text", nargs="?", help=f"the text: {STREAMED_TEXT_HELP}")
        task = parser.add_mutually_exclusive_group(required=True)
        task.add_argument("--output", metavar="FILE", help="the vocabulary file to write; an existing file is replaced")
        task.add_argument(
            "--check",
            metavar="FILE",
            help="the vocabulary file to check: special words, repeated words, and lines that are not one word. With the training "
            "text, also the order: the sampled softmax assumes decreasing frequency",
        )
        parser.add_argument(
            "--min-count", metavar="NUMBER", type=integer_from(1), help="leave out rarer words (default: 1)"
        )
        parser.add_argument(
            "--max-size",
            metavar="NUMBER",
            type=integer_from(len(SPECIAL_WORDS) + 1),
            help=f"the maximum number of lines, {', '.join(SPECIAL_WORDS)} included (default: no maximum)",
        )
        add_cluster_arguments(
            parser,
            "the number of processes that count (default: one per core, but at most one per "
            f"{BYTES_PER_PROCESS >> 20} MB of text)",
        )
        add_encoding_errors_argument(parser)

    @overrides
    def run(self, args: argparse.Namespace) -> None:
        check_cluster_arguments(args, without_scheduler=True)
        if args.output is not None:
            if args.text is None:
                raise UsageError("--output needs a text")
            refuse_to_replace(args.output, [args.text])
            _write(args)
            return
        for name in ("scheduler", "min_count", "max_size"):
            if getattr(args, name) is not None:
                raise UsageError(f"--{name.replace('_', '-')} must come with --output")
        _check(args)


def _write(args: argparse.Namespace) -> None:
    # Opened before the counting, which may take hours, so that a file that cannot be written is refused at once.
    with atomic_path(args.output) as temporary:
        counts = _count(args)
        words = order_by_frequency(counts, args.min_count or 1, args.max_size)
        write_vocabulary(temporary, words)
    if args.scheduler is not None:
        remove_counts(_shard_directory(args))
    _print_coverage(words, counts)
    print(f"wrote {args.output}")


def _check(args: argparse.Namespace) -> None:
    words, faults = examine_vocabulary(args.check)
    num_wrong = sum(len(word.split()) != 1 for word in words)
    if num_wrong > len(words) / 2:
        raise InputError(
            f"{args.check}: must be a vocabulary file, with one word on each line; {num_wrong:,} of {len(words):,} lines are not "
            "one word"
        )
    faults += [f"{args.check}: {fault}" for fault in misplaced_special_words(words)]
    if args.text is None:
        print(f"vocabulary  {count_in_words(len(words), 'entry', 'entries')}")
        print("order       not checked; give the training text to check it")
    else:
        counts = _count(args)
        order = order_faults(words, counts)
        if order is not None:
            faults.append(
                f"{args.check}: must be in the order of decreasing frequency; {order.num_faults:,} words are more frequent than "
                f"the word before, the first is {order.first_word!r} on line {order.first_line:,}; {order.worst_word!r} on line "
                f"{order.worst_line:,} belongs on line {order.worst_rank:,}"
            )
        _print_coverage(words, counts)
    for fault in faults[:MAX_FAULTS_SHOWN]:
        print(fault, file=sys.stderr)
    if len(faults) > MAX_FAULTS_SHOWN:
        print(f"and {len(faults) - MAX_FAULTS_SHOWN:,} more", file=sys.stderr)
    if faults:
        sys.exit(1)
    print(f"{args.check}: no fault found")


def _count(args: argparse.Namespace) -> Counter[str]:
    if args.scheduler is not None:
        with shard_runner(args, args.text, "counting words") as (runner, advance):
            return count_shards(args.text, _shard_directory(args), runner, advance, args.encoding_errors)
    num_bytes = num_bytes_to_read(args.text)
    num_processes = args.processes or min(num_usable_cores(), 1 + (num_bytes or 0) // BYTES_PER_PROCESS)
    try:
        with progress_bar("counting words", "B", num_bytes) as advance:
            return count_words(args.text, args.encoding_errors, num_processes, advance)
    except BrokenProcessPool:
        raise InputError(
            f"`{args.text}`: a process was killed, perhaps because it ran out of memory: try fewer `--processes`"
        ) from None


def _shard_directory(args: argparse.Namespace) -> Path:
    # Absolute, as a worker may have another working directory.
    return Path(f"{args.output}.shards").absolute()


def _print_coverage(words: list[str], counts: Counter[str]) -> None:
    covered, truncated = coverage(words, counts), truncated_words(counts)
    print(f"vocabulary  {count_in_words(len(words), 'entry', 'entries')}")
    print(f"text        {count_in_words(covered.num_words, 'word')}, {covered.num_types:,} distinct")
    print(
        f"coverage    {covered.num_known_words / covered.num_words:.3%} of the words, "
        f"{covered.num_known_types / covered.num_types:.3%} of the distinct words; other words are <UNK> in the softmax"
    )
    examples = f", such as {', '.join(truncated.examples)}" if truncated.examples else ""
    print(
        f"truncated   {truncated.share:.4%} of the words ({truncated.num_words:,}, {truncated.num_types:,} distinct) are longer "
        f"than {DEFAULT_MAX_CHARACTERS - 2} bytes (UTF-8){examples}"
    )
