"""
Counting a vocabulary over a large text: words per second, and peak memory.

The generated text has 100 million tokens by default, with new words throughout. Ours is `count_words` and `order_by_frequency`, with one
process for each PyTorch thread and with a single process. The alternative is AllenNLP's `Vocabulary.from_instances` over TextFields, on
a twentieth of the text; its memory is that for this part. The limit is reading the text and splitting its lines, in one process. Each
contender runs in its own child process and is timed there, without imports. With several processes the memory is that of the first
process, which holds all counts.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import torch

from allennlp_elmo_plus.data.text.text_files import iter_sentence_blocks
from allennlp_elmo_plus.data.text.vocabulary import order_by_frequency
from allennlp_elmo_plus.data.text.word_counts import count_words

from .measurement.comparison import compare
from .measurement.peak_memory import Meter
from .measurement.report import Report
from .measurement.rounds import Contender, Interval
from .measurement.settings import Settings
from .workloads.sample_text import write_text

LIMIT = "limit: reading and splitting"
# A turn takes minutes, so a short stop of the machine matters little.
MAX_ROUNDS = 3
_PART = 20


def run(settings: Settings) -> Report:
    text, part = settings.scratch / "vocabulary.txt", settings.scratch / "part.txt"
    num_tokens = write_text(text, settings.tokens(100_000_000, 3_000))
    reason = settings.why_without_allennlp()
    peaks: dict[str, int] = {}

    def contender(
        name: str, job: str, path: Path, tokens: int, limit: Optional[str] = LIMIT, **arguments: Any
    ) -> Contender:
        def run_in_child() -> list[Interval]:
            peak = settings.peak_of(f"benchmarks.vocabulary:{job}", path=str(path), **arguments)
            peaks[name] = max(peaks.get(name, 0), peak.peak_bytes)
            return [Interval(*peak.result)]

        return Contender(name, run_in_child, tokens, limit=limit, times_itself=True)

    num_processes = torch.get_num_threads()
    contenders = [contender("ours, one process", "count", text, num_tokens, num_processes=1)]
    if num_processes > 1:
        name = f"ours, {num_processes} processes"
        contenders.insert(0, contender(name, "count", text, num_tokens, num_processes=num_processes))
    if reason is None:
        part_tokens = write_text(part, max(1_000, num_tokens // _PART))
        contenders.append(contender("AllenNLP Vocabulary, part of the text", "count_with_allennlp", part, part_tokens))
    contenders.append(contender(LIMIT, "only_split", text, num_tokens, limit=None))
    few_rounds = dataclasses.replace(settings, rounds=min(settings.rounds, MAX_ROUNDS))
    case = compare(f"{num_tokens:,} tokens", contenders, few_rounds)
    for figures in case.figures:
        figures.peak_bytes = peaks[figures.contender]
    return Report("vocabulary", "counting a vocabulary", [case], notes=[] if reason is None else [reason])


def count(meter: Meter, path: str, num_processes: int) -> Interval:
    """Return the interval of counting and sorting words."""
    return _timed(meter, lambda: order_by_frequency(count_words(path, num_processes=num_processes)))


def only_split(meter: Meter, path: str) -> Interval:
    """Return the interval of reading and splitting."""

    def split() -> None:
        for _ in iter_sentence_blocks(path):
            pass

    return _timed(meter, split)


def count_with_allennlp(meter: Meter, path: str) -> Interval:
    """Return the interval of AllenNLP's own vocabulary, over instances as a reader of AllenNLP makes them."""
    from allennlp.data import Instance, Vocabulary
    from allennlp.data.fields import TextField
    from allennlp.data.token_indexers import SingleIdTokenIndexer
    from allennlp.data.tokenizers import Token

    indexers = {"tokens": SingleIdTokenIndexer()}

    def build() -> Vocabulary:
        with open(path, encoding="utf-8") as file:
            return Vocabulary.from_instances(
                Instance({"source": TextField([Token(word) for word in line.split()], indexers)}) for line in file
            )

    return _timed(meter, build)


def _timed(meter: Meter, job: Callable[[], Any]) -> Interval:
    meter.start()
    start = time.perf_counter()
    job()
    return Interval(start, time.perf_counter())
