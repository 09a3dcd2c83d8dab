"""The command `elmo-usages`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

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
    add_vocab_file_argument,
)
from allennlp_elmo_plus.data.text.text_files import STANDARD_INPUT, iter_sentence_blocks, resolve_paths
from allennlp_elmo_plus.errors import InputError, count_in_words
from allennlp_elmo_plus.formats.model_files import ModelSource
from allennlp_elmo_plus.formats.pretrained import read_model
from allennlp_elmo_plus.inference.neighbors import MAX_SENTENCE_WORDS
from allennlp_elmo_plus.storage.atomic_files import optional_path
from allennlp_elmo_plus.usages.comparison import CLUSTERINGS, UsageComparer, WordComparison
from allennlp_elmo_plus.usages.occurrences import OccurrenceSampler, Sample, read_target_words
from allennlp_elmo_plus.usages.page import usages_page
from allennlp_elmo_plus.usages.table import json_lines, tsv_lines
from allennlp_elmo_plus.usages.usage_model import UsageModel

_FORMATS = {".tsv": tsv_lines, ".jsonl": json_lines}


class ElmoUsages(ElmoCommand):
    """Compare how words are used in two corpora.

    For each word, print how far its occurrences in the two corpora are from each other in the vectors of a biLM: average pairwise
    distance (APD), distance of the mean vectors (PRT), and Jensen-Shannon divergence of clusters of usages (JSD). The page shows
    the clusters, with example sentences and with the words that fit in the place of the word. The command needs scikit-learn.
    Sentences of more than 1,000 words are left out.
    """

    example = """\
example:
  elmo-plus usages runs/bilm/model.tar.gz 'file,set,return*' old.txt new.txt --page usages.html"""

    @overrides
    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("model", help=MODEL_HELP)
        parser.add_argument(
            "words",
            help="the words to compare, separated by commas, or a file with one word per line; run* is all words that begin with run, "
            "compared as one",
        )
        parser.add_argument("corpus_a", help=f"the first corpus: {STREAMED_TEXT_HELP}")
        parser.add_argument("corpus_b", help="the second corpus")
        parser.add_argument(
            "--layer",
            metavar="NUMBER",
            type=integer_from(0),
            help="the layer of the vectors; 0 knows no context (default: the top layer)",
        )
        parser.add_argument(
            "--clustering",
            choices=CLUSTERINGS,
            default=CLUSTERINGS[0],
            help="k-means with 2 to 8 clusters, by the best silhouette score, or affinity propagation",
        )
        parser.add_argument(
            "--max-occurrences",
            metavar="NUMBER",
            type=integer_from(1),
            default=500,
            help="compare at most this many occurrences of a word in each corpus, chosen at random",
        )
        parser.add_argument(
            "--seed",
            metavar="NUMBER",
            type=integer_from(0),
            default=1,
            help="the seed of this choice and of the clustering",
        )
        parser.add_argument(
            "--output",
            metavar="FILE",
            help="also write the table (.tsv), or the table with the clusters as JSON lines (.jsonl)",
        )
        parser.add_argument(
            "--page", metavar="FILE", help="also write an HTML page with the clusters and example sentences"
        )
        add_vocab_file_argument(parser)
        add_device_argument(parser)

    @overrides
    def run(self, args: argparse.Namespace) -> None:
        if args.corpus_a == args.corpus_b == STANDARD_INPUT:
            raise UsageError("only one of the corpora can be standard input, got - for both")
        suffix = None if args.output is None else Path(args.output).suffix
        if suffix is not None and suffix not in _FORMATS:
            raise UsageError(f"--output must end in {' or '.join(_FORMATS)}, got {args.output}")
        words = read_target_words(args.words)
        for output in (args.output, args.page):
            refuse_to_replace(output, [args.corpus_a, args.corpus_b], [args.model, args.words, args.vocab_file])
        with optional_path(args.output) as output, optional_path(args.page) as page:
            comparisons = _compare(args, words)
            if output is not None and suffix is not None:
                output.write_text("".join(f"{line}\n" for line in _FORMATS[suffix](comparisons)), encoding="utf-8")
            if page is not None:
                html = usages_page(comparisons, args.model, (args.corpus_a, args.corpus_b))
                page.write_text(html, encoding="utf-8", errors="replace")
        for line in tsv_lines(comparisons):
            print(line)


def _compare(args: argparse.Namespace, words: Sequence[str]) -> list[WordComparison]:
    corpora = (args.corpus_a, args.corpus_b)
    # Before the model is read, so that a wrong name is refused at once.
    for corpus in corpora:
        resolve_paths(corpus)
    model = UsageModel(
        read_model(ModelSource(args.model, vocab_file=args.vocab_file)),
        -1 if args.layer is None else args.layer,
        args.cuda_device,
    )
    comparer = UsageComparer(model, args.clustering, args.seed)
    samples = [_sample(corpus, words, args.max_occurrences, args.seed) for corpus in corpora]
    if not any(all(sample[word].tokens for sample in samples) for word in words):
        raise InputError(f"no word of {args.words!r} occurs in both {args.corpus_a} and {args.corpus_b}")
    if not model.has_softmax:
        print("this biLM has no softmax, so it predicts no words that fit", file=sys.stderr)
    comparisons = []
    with progress_bar("comparing", " words", len(words)) as advance:
        for word in words:
            comparisons.append(comparer.compare(word, *(sample[word] for sample in samples)))
            advance(1)
    for word in words:
        missing = [corpus for corpus, sample in zip(corpora, samples) if not sample[word].tokens]
        if missing:
            print(f"{word}: not in {' and not in '.join(missing)}, so not compared", file=sys.stderr)
    return comparisons


def _sample(corpus: str, words: Sequence[str], max_occurrences: int, seed: int) -> dict[str, Sample]:
    sampler = OccurrenceSampler(words, max_occurrences, seed)
    with progress_bar(f"reading {os.path.basename(corpus)}", " sentences", None) as advance:
        for block in iter_sentence_blocks(corpus):
            sampler.add_text(block)
            advance(len(block))
    if sampler.num_skipped:
        skipped = count_in_words(sampler.num_skipped, "sentence")
        print(f"{corpus}: left out {skipped} of more than {MAX_SENTENCE_WORDS:,} words", file=sys.stderr)
    return sampler.samples()
