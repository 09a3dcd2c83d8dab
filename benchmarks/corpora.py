"""Generated text as the encoded corpora and batches that training reads."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from allennlp_elmo_plus.data.batching.lane_plan import EpochPlan
from allennlp_elmo_plus.data.batching.lane_reader import LaneReader
from allennlp_elmo_plus.data.batching.negatives import LogUniformSampler
from allennlp_elmo_plus.data.batching.window_batcher import LanguageModelBatch, WindowBatcher
from allennlp_elmo_plus.data.corpus.cache import open_or_encode
from allennlp_elmo_plus.data.corpus.encoded_corpus import EncodedCorpus

from .sample_text import write_text

NUM_STEPS = 20


def sample_corpus(directory: Path, num_tokens: int) -> EncodedCorpus:
    """A generated text, encoded below `directory`; written where it is not there yet."""
    text = directory / f"text-{num_tokens}.txt"
    if not text.exists():
        write_text(text, num_tokens)
    return open_or_encode(text, directory / "encoded")


def vocabulary_ids(corpus: EncodedCorpus, vocab_size: int) -> np.ndarray:
    """An id for each type of `corpus`, all ids below `vocab_size` in use where there are types enough."""
    return np.arange(corpus.num_types) % vocab_size


def plan_of(corpus: EncodedCorpus, num_lanes: int) -> EpochPlan:
    return EpochPlan(corpus.offsets, num_lanes, NUM_STEPS, shuffle=True, seed=0, epoch=0)


def training_batches(
    corpus: EncodedCorpus, vocab_size: int, num_lanes: int, num_negatives: int, count: int
) -> list[LanguageModelBatch]:
    """The first `count` batches of an epoch, as the data loader makes them; all whole."""
    plan = plan_of(corpus, num_lanes)
    whole_windows = int(plan.lane_lengths.min()) // NUM_STEPS
    if whole_windows < count:
        raise ValueError(f"{corpus.num_tokens} words fill {whole_windows} windows of {num_lanes} lanes, not {count}")
    return list(islice(epoch_batches(corpus, vocab_size, num_lanes, num_negatives), count))


def epoch_batches(
    corpus: EncodedCorpus, vocab_size: int, num_lanes: int, num_negatives: int
) -> Iterator[LanguageModelBatch]:
    """The batches of an epoch, each made when it is asked for."""
    batcher = WindowBatcher(corpus, vocabulary_ids(corpus, vocab_size), LogUniformSampler(vocab_size, num_negatives))
    return map(batcher, LaneReader(corpus.tokens, plan_of(corpus, num_lanes)))
