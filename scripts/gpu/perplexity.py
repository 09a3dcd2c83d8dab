"""Train on a text in bfloat16, epoch by epoch, to the exact perplexity of sentences that are held out."""

import math
import time
from collections.abc import Iterator

import numpy as np
import torch

from allennlp_elmo_plus.data.batching.batch import LanguageModelBatch
from allennlp_elmo_plus.data.batching.lane_plan import LanePlan
from allennlp_elmo_plus.data.batching.lane_reader import LaneReader
from allennlp_elmo_plus.data.batching.negatives import LogUniformSampler
from allennlp_elmo_plus.data.batching.prefetch import Prefetcher
from allennlp_elmo_plus.data.batching.window_batcher import WindowBatcher
from allennlp_elmo_plus.data.corpus.cache import open_or_encode
from allennlp_elmo_plus.data.corpus.encoded_corpus import BOS_TYPE, EOS_TYPE, EncodedCorpus
from benchmarks.workloads.corpora import NUM_STEPS, sample_corpus
from benchmarks.workloads.training_step import TrainingJob

from .report import Report
from .workload import Workload

HELD_OUT_SHARE = 0.05
RESERVE_SECONDS = 90.0


def train_to_perplexity(work: Workload, report: Report) -> None:
    """Train a biLM of 1024 cells on `--text`; the perplexity of held-out sentences must fall."""
    sizes = work.sizes
    options = {**sizes.trained, "dropout": 0.1}
    corpus = sample_corpus(work.scratch, sizes.num_tokens)
    if work.text is not None:
        corpus = open_or_encode(work.text, work.scratch / "encoded")
    num_trained = int((len(corpus.offsets) - 1) * (1 - HELD_OUT_SHARE))
    ids = _ids_by_frequency(corpus, num_trained, sizes.trained_vocab_size)
    sampler = LogUniformSampler(sizes.trained_vocab_size, options["n_negative_samples_batch"])

    def batches(epoch: int, is_held_out: bool) -> Iterator[LanguageModelBatch]:
        offsets = corpus.offsets[num_trained:] if is_held_out else corpus.offsets[: num_trained + 1]
        plan = LanePlan(offsets, sizes.trained_lanes, NUM_STEPS, shuffle=not is_held_out, seed=0, epoch=epoch)
        windows = LaneReader(corpus.tokens, plan)
        source = map(WindowBatcher(corpus, ids, None if is_held_out else sampler, epoch=epoch), windows)
        return (batch.to(work.device) for batch in Prefetcher(source, 4))

    job = work.job(options, sizes.trained_vocab_size, [], bfloat16=True)
    perplexities = [_perplexity(job, batches(0, True))]
    for epoch in range(sizes.num_epochs):
        if report.seconds_left() < RESERVE_SECONDS:
            break
        job.state = None
        start, num_tokens = time.perf_counter(), 0
        for batch in batches(epoch, False):
            job.batches = iter([batch])
            job.step()
            num_tokens += sum(batch.batch_sizes)
        work.synchronize()
        tokens_per_second = num_tokens / (time.perf_counter() - start)
        perplexities.append(_perplexity(job, batches(0, True)))
        report.measured(f"epoch {epoch}: held-out perplexity", perplexities[-1], f"{tokens_per_second:,.0f} tokens/s")
    summary = " -> ".join(f"{perplexity:,.1f}" for perplexity in perplexities)
    report.required("the perplexity falls", min(perplexities[1:], default=math.inf) < perplexities[0], summary)


def _ids_by_frequency(corpus: EncodedCorpus, num_sentences: int, vocab_size: int) -> np.ndarray:
    """Return a vocabulary id for each type, 0 for the commonest; the last id is that of all words beyond the vocabulary."""
    counts = np.bincount(corpus.tokens[: corpus.offsets[num_sentences]], minlength=corpus.num_types)
    counts[[BOS_TYPE, EOS_TYPE]] = num_sentences
    ids = np.empty(corpus.num_types, dtype=np.int64)
    ids[np.argsort(-counts, kind="stable")] = np.arange(corpus.num_types)
    return np.minimum(ids, vocab_size - 1)


def _perplexity(job: TrainingJob, batches: Iterator[LanguageModelBatch]) -> float:
    """Return the exact perplexity, the mean of both directions in nats."""
    nll, num_targets, state = 0.0, 0, None
    job.model.eval()
    with torch.no_grad():
        for batch in batches:
            result = job.model.exact_loss(batch, state)
            assert result.backward_nll is not None
            state, num_targets = result.state, num_targets + sum(batch.batch_sizes)
            nll += 0.5 * float(result.forward_nll.double().sum() + result.backward_nll.double().sum())
    job.model.train()
    return math.exp(nll / num_targets)
