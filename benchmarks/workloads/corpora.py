"""Encoded corpora and batches of generated text, as training reads them."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from allennlp_elmo_plus.data.batching.batch import LanguageModelBatch
from allennlp_elmo_plus.data.batching.lane_plan import LanePlan
from allennlp_elmo_plus.data.batching.lane_reader import LaneReader
from allennlp_elmo_plus.data.batching.negatives import LogUniformSampler
from allennlp_elmo_plus.data.batching.window_batcher import WindowBatcher
from allennlp_elmo_plus.data.corpus.cache import open_or_encode
from allennlp_elmo_plus.data.corpus.encoded_corpus import EncodedCorpus

from .sample_text import write_text

NUM_STEPS = 20


def sample_corpus(directory: Path, num_tokens: int) -> EncodedCorpus:
    """Return a generated text, encoded below `directory`; write the text if it is missing."""
    text = directory / f"text-{num_tokens}.txt"
    if not text.exists():
        write_text(text, num_tokens)
    return open_or_encode(text, directory / "encoded")


def vocabulary_ids(corpus: EncodedCorpus, vocab_size: int) -> np.ndarray:
    """Return an id below `vocab_size` for each type of `corpus`; every id is used if there are enough types."""
    return np.arange(corpus.num_types) % vocab_size


def plan_of(corpus: EncodedCorpus, num_lanes: int) -> LanePlan:
    return LanePlan(corpus.offsets, num_lanes, NUM_STEPS, shuffle=True, seed=0, epoch=0)


def training_batches(
    corpus: EncodedCorpus, vocab_size: int, num_lanes: int, num_negatives: int, count: int
) -> list[LanguageModelBatch]:
    """Return the first `count` batches of an epoch, as the data loader makes them, all full."""
    plan = plan_of(corpus, num_lanes)
    full_windows = int(plan.lane_lengths.min()) // NUM_STEPS
    if full_windows < count:
        raise ValueError(f"{corpus.num_tokens} words fill {full_windows} windows of {num_lanes} lanes, not {count}")
    return list(islice(epoch_batches(corpus, vocab_size, num_lanes, num_negatives), count))


def epoch_batches(
    corpus: EncodedCorpus, vocab_size: int, num_lanes: int, num_negatives: int
) -> Iterator[LanguageModelBatch]:
    """Yield the batches of an epoch, each made when it is requested."""
    batcher = WindowBatcher(corpus, vocabulary_ids(corpus, vocab_size), LogUniformSampler(vocab_size, num_negatives))
    return map(batcher, LaneReader(corpus.tokens, plan_of(corpus, num_lanes)))
