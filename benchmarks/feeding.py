"""
Words per second that one core can feed to training.

Every epoch, training reads windows and batches, with negative samples, from the memory map. The alternative is AllenNLP's streaming: the
instances of this package's dataset reader through AllenNLP's MultiProcessDataLoader, in batches of about the same number of words. The
limit is copying the finished batches. Once per text, training reads the text and encodes it to the memory map. The limit is reading the
text and splitting its lines into words.
"""

import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Optional

from torch import Tensor

from allennlp_elmo_plus.data.batching.batch import LanguageModelBatch
from allennlp_elmo_plus.data.batching.lane_reader import LaneReader
from allennlp_elmo_plus.data.batching.negatives import LogUniformSampler
from allennlp_elmo_plus.data.batching.window_batcher import WindowBatcher
from allennlp_elmo_plus.data.corpus.cache import open_or_encode
from allennlp_elmo_plus.data.text.text_files import iter_sentence_blocks

from .measurement.comparison import compare
from .measurement.machine import threads
from .measurement.report import Case, Report
from .measurement.rounds import Contender
from .measurement.settings import Settings
from .workloads.corpora import NUM_STEPS, plan_of, sample_corpus, vocabulary_ids
from .workloads.model_sizes import RELEASED_VOCABULARY
from .workloads.sample_text import write_text

LIMIT_OF_EPOCH = "limit: copying the batches"
LIMIT_OF_ENCODING = "limit: reading and splitting"


def run(settings: Settings) -> Report:
    reason = settings.why_without_allennlp()
    with threads(1):
        cases = [_every_epoch(settings), _once(settings)]
    return Report("feeding", "feeding training, one core", cases, notes=[] if reason is None else [reason])


def _every_epoch(settings: Settings) -> Case:
    num_lanes, num_negatives = settings.size((128, 8192), (4, 64))
    corpus = sample_corpus(settings.scratch, settings.tokens(2_000_000, 2_000))
    plan = plan_of(corpus, num_lanes)
    # The size of the original's vocabulary: to draw distinct words takes longer from a smaller one.
    vocab_size = settings.size(RELEASED_VOCABULARY, 500)
    ids = vocabulary_ids(corpus, vocab_size)
    sampler = LogUniformSampler(vocab_size, num_negatives)

    def batches(sampler: Optional[LogUniformSampler]) -> Callable[[], None]:
        def epoch() -> None:
            for _ in map(WindowBatcher(corpus, ids, sampler), LaneReader(corpus.tokens, plan)):
                pass

        return epoch

    finished = list(map(WindowBatcher(corpus, ids, sampler), islice(LaneReader(corpus.tokens, plan), 16)))
    contenders = [
        Contender("ours", batches(sampler), plan.num_positions, limit=LIMIT_OF_EPOCH),
        _allennlp_streaming(settings, num_lanes),
        Contender("ours, no negatives", batches(None), plan.num_positions),
        Contender(LIMIT_OF_EPOCH, lambda: _copy(finished), float(sum(int(batch.lengths.sum()) for batch in finished))),
    ]
    label = f"every epoch, batch {num_lanes} x {NUM_STEPS}, {num_negatives:,} negatives of {vocab_size:,} words"
    return compare(label, contenders, settings)


def _once(settings: Settings) -> Case:
    text, encoded = settings.scratch / "feeding.txt", settings.scratch / "feeding"
    num_tokens = write_text(text, settings.tokens(2_000_000, 2_000))

    def split() -> None:
        for _ in iter_sentence_blocks(text):
            pass

    contenders = [
        Contender(
            "ours",
            lambda: open_or_encode(text, encoded),
            num_tokens,
            prepare=lambda: shutil.rmtree(encoded, ignore_errors=True),
            limit=LIMIT_OF_ENCODING,
        ),
        Contender(LIMIT_OF_ENCODING, split, num_tokens),
    ]
    return compare("once, from text", contenders, settings)


def _copy(batches: list[LanguageModelBatch]) -> None:
    for batch in batches:
        for value in (*batch, *(batch.forward_negatives or ()), *(batch.backward_negatives or ())):
            if isinstance(value, Tensor):
                value.clone()


def _allennlp_streaming(settings: Settings, num_lanes: int) -> Optional[Contender]:
    if settings.why_without_allennlp():
        return None
    from allennlp.data.data_loaders import MultiProcessDataLoader

    from allennlp_elmo_plus.plugin.data.dataset_readers.bilm_reader import BilmReader
    from allennlp_elmo_plus.plugin.data.vocabulary import BilmVocabulary

    # Less text, because streaming is slow.
    path: Path = settings.scratch / "streaming.txt"
    num_tokens = write_text(path, settings.tokens(100_000, 2_000))
    with open(path, encoding="ascii") as file:
        num_sentences = sum(1 for _ in file)
    reader = BilmReader()
    loader = MultiProcessDataLoader(
        reader, path, batch_size=num_lanes, max_instances_in_memory=16 * num_lanes, quiet=True
    )
    loader.index_with(BilmVocabulary.from_text(reader.read(path)))

    def epoch() -> None:
        for _ in loader:
            pass

    # A sentence of n words has n + 1 targets, as for ours.
    return Contender("AllenNLP streaming", epoch, num_tokens + num_sentences)
