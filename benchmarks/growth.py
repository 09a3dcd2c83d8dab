"""
The growth of time with size: of a training step with the batch, the LSTM and the vocabulary; of feeding with the corpus.

Each size is twice the size before, and all sizes of a case run in turn. `growth` is the time of a size divided by that of the size before.
`growth_of_work` is the same for the counted work: multiply-adds for a step, words for the corpus. It is 1 for the vocabulary, because
the time of a sampled softmax with sparse gradients should not depend on its size. A remark marks a size whose time differs from its
work by more than 15%.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from allennlp_elmo_plus.data.batching.lane_reader import LaneReader
from allennlp_elmo_plus.data.batching.window_batcher import WindowBatcher
from allennlp_elmo_plus.data.corpus.cache import open_or_encode
from allennlp_elmo_plus.data.corpus.encoded_corpus import EncodedCorpus

from .measurement.comparison import compare
from .measurement.machine import threads
from .measurement.report import Case, Report
from .measurement.rounds import Contender, paired_ratio
from .measurement.settings import Settings
from .workloads.corpora import plan_of, sample_corpus, training_batches, vocabulary_ids
from .workloads.model_sizes import Options, bilm_options
from .workloads.products import Products, training_shapes
from .workloads.sample_text import write_text
from .workloads.training_step import TrainingJob

TOLERANCE = 0.15
NUM_DOUBLINGS = 4
_FILTERS = [[1, 16], [2, 32], [3, 64], [4, 144]]


def run(settings: Settings) -> Report:
    num_sizes = settings.size(NUM_DOUBLINGS, 1) + 1
    cases = [_batch_sizes(settings, num_sizes), _lstm_sizes(settings, num_sizes), _vocabularies(settings, num_sizes)]
    with threads(1):
        cases += [_encoding(settings, num_sizes), _windows(settings, num_sizes)]
    return Report("growth", "growth of time with size, each line twice the one before", cases)


def _batch_sizes(settings: Settings, num_sizes: int) -> Case:
    corpus = _corpus(settings)
    steps = {f"batch {size}": _step(settings, corpus, batch=size) for size in _doubled(settings.size(16, 2), num_sizes)}
    return _growth_case("step, batch size", steps, settings)


def _lstm_sizes(settings: Settings, num_sizes: int) -> Case:
    corpus = _corpus(settings)
    steps = {
        f"cell {cell}, projection {cell // 4}": _step(settings, corpus, cell=cell)
        for cell in _doubled(settings.size(128, 16), num_sizes)
    }
    return _growth_case("step, LSTM size", steps, settings)


def _vocabularies(settings: Settings, num_sizes: int) -> Case:
    corpus = _corpus(settings)
    steps = {
        f"{size:,} words": _step(settings, corpus, vocab_size=size)
        for size in _doubled(settings.size(50_000, 200), num_sizes)
    }
    return _growth_case("step, vocabulary", {name: (run, 1.0) for name, (run, _) in steps.items()}, settings)


def _encoding(settings: Settings, num_sizes: int) -> Case:
    jobs: dict[str, tuple[Callable[[], Any], float]] = {}
    for size in _corpus_sizes(settings, num_sizes):
        text = settings.scratch / f"growth-{size}.txt"
        num_tokens = write_text(text, size)
        jobs[f"{num_tokens:,} tokens"] = _encode(text, settings.scratch / "growth"), float(num_tokens)
    return _growth_case("encoding, corpus", jobs, settings)


def _windows(settings: Settings, num_sizes: int) -> Case:
    jobs: dict[str, tuple[Callable[[], Any], float]] = {}
    for size in _corpus_sizes(settings, num_sizes):
        corpus = sample_corpus(settings.scratch, size)
        jobs[f"{corpus.num_tokens:,} tokens"] = _epoch(corpus, settings.size(32, 2)), float(corpus.num_tokens)
    return _growth_case("windows of an epoch, corpus", jobs, settings)


def _step(
    settings: Settings, corpus: EncodedCorpus, batch: int = 0, cell: int = 0, vocab_size: int = 0
) -> tuple[Callable[[], None], float]:
    """Return a training step of a small biLM and its multiply-adds."""
    cell, vocab_size, batch = (
        cell or settings.size(256, 16),
        vocab_size or settings.size(10_000, 200),
        batch or settings.size(32, 2),
    )
    options: Options = bilm_options(cell, cell // 4, _FILTERS, n_highway=1, n_negatives=settings.size(512, 32))
    batches = training_batches(corpus, vocab_size, batch, options["n_negative_samples_batch"], count=2)
    job = TrainingJob(options, vocab_size, batches)
    return job.step, Products(training_shapes(job.options, batches[0])).flops


def _encode(text: Path, cache: Path) -> Callable[[], None]:
    def encode() -> None:
        shutil.rmtree(cache, ignore_errors=True)
        open_or_encode(text, cache)

    return encode


def _epoch(corpus: EncodedCorpus, num_lanes: int) -> Callable[[], None]:
    ids = vocabulary_ids(corpus, corpus.num_types)

    def epoch() -> None:
        for _ in map(WindowBatcher(corpus, ids), LaneReader(corpus.tokens, plan_of(corpus, num_lanes))):
            pass

    return epoch


def _growth_case(label: str, jobs: dict[str, tuple[Callable[[], Any], float]], settings: Settings) -> Case:
    """Compare `jobs`, a job and its work by name, each twice the size of the job before."""
    case = compare(label, [Contender(name, run) for name, (run, _) in jobs.items()], settings)
    works = [work for _, work in jobs.values()]
    for figures in case.figures:
        figures.ratio = figures.amount = None
    for number, (smaller, figures) in enumerate(zip(case.figures, case.figures[1:]), start=1):
        figures.growth = paired_ratio(figures.seconds, smaller.seconds)
        figures.growth_of_work = works[number] / works[number - 1]
        figures.remark = _remark(figures.growth / figures.growth_of_work)
    return case


def _remark(excess: float) -> str:
    if excess > 1 + TOLERANCE:
        return "more than its work"
    return "less than its work" if excess < 1 - TOLERANCE else "as its work"


def _doubled(first: int, count: int) -> list[int]:
    return [first * 2**power for power in range(count)]


def _corpus(settings: Settings) -> EncodedCorpus:
    return sample_corpus(settings.scratch, settings.tokens(200_000, 2_000))


def _corpus_sizes(settings: Settings, num_sizes: int) -> list[int]:
    # At most a million: longer generated texts repeat themselves, and only their numbers are new words.
    return _doubled(settings.size(62_500, 500), num_sizes)
