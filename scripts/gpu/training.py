"""Part 3: the loss falls in bfloat16 as in float32; the speed of training and embedding from text to result."""

import random
import time
from itertools import islice

import numpy as np
import torch

from allennlp_elmo_plus.data.batching.prefetch import Prefetcher
from allennlp_elmo_plus.inference.embedder import ElmoEmbedder
from allennlp_elmo_plus.modules.build import build_encoder
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from benchmarks.workloads.corpora import NUM_STEPS, epoch_batches, sample_corpus

from .perplexity import train_to_perplexity
from .report import Report
from .workload import Workload, graph_states

# The training loops stop when this many seconds are left, for the sections after them.
TYPES_RESERVE_SECONDS, FED_RESERVE_SECONDS = 300.0, 60.0


def train_in_both_types(work: Workload, report: Report) -> None:
    """Train on the same windows from the same weights in float32, in bfloat16, and in float32 with other dropout masks."""
    sizes = work.sizes
    options = {**sizes.trained, "dropout": 0.1}
    batches = work.batches(options, sizes.trained_vocab_size, sizes.trained_lanes, sizes.num_updates)
    last, exact = {}, {}
    for name, bfloat16, dropout_seed in (("float32", False, 1), ("bfloat16", True, 1), ("other dropout", False, 2)):
        job = work.job(options, sizes.trained_vocab_size, batches, bfloat16)
        torch.manual_seed(dropout_seed)
        losses = []
        for _ in batches:
            losses.append(job.step())
            if len(losses) % 50 == 0 and report.seconds_left() < TYPES_RESERVE_SECONDS:
                report.required(f"{name}: all {len(batches)} updates", False, f"{len(losses)} in the time there was")
                return
        curve = torch.stack(losses).double().cpu()
        last[name] = float(curve[-max(1, len(curve) // 5) :].mean())
        job.model.eval()
        with torch.no_grad():
            exact[name] = float(job.model.exact_loss(batches[-1].to(work.device)).forward_nll.double().mean())
        text = f"nats, from {float(curve[0]):.3f}; exact {exact[name]:.3f}; graphs {graph_states(job)}"
        report.measured(f"{name}: mean loss of the last fifth", last[name], text)
        report.required(f"{name}: finite", bool(torch.isfinite(curve).all()))
    report.limited("bfloat16 from float32, mean loss", abs(last["bfloat16"] - last["float32"]), sizes.loss_limit)
    report.limited("bfloat16 from float32, exact loss", abs(exact["bfloat16"] - exact["float32"]), sizes.loss_limit)
    report.measured("other dropout from float32, mean loss", abs(last["other dropout"] - last["float32"]), "nats")


def train_as_fed(work: Workload, report: Report) -> None:
    """Train the original size; a thread makes the batches from the encoded text while the device computes."""
    sizes = work.sizes
    options = {**sizes.original, "dropout": 0.1}
    corpus = sample_corpus(work.scratch, sizes.num_tokens)
    count, warm_up = (4, 1) if work.is_dry_run else (200, 20)

    def source() -> Prefetcher:
        batches = epoch_batches(corpus, sizes.vocab_size, sizes.num_lanes, options["n_negative_samples_batch"])
        return Prefetcher(islice(batches, count), 4)

    start = time.perf_counter()
    num_batches = sum(1 for _ in source())
    report.measured("batches without training", 1e3 * (time.perf_counter() - start) / num_batches, "ms per batch")
    job = work.job(options, sizes.vocab_size, [], bfloat16=work.is_gpu)
    job.batches = (batch.to(work.device) for batch in source())
    losses = []
    for number in range(num_batches):
        if number == warm_up:
            work.synchronize()
            start = time.perf_counter()
        # The loss is read at each step, as the progress bar of a training does.
        losses.append(float(job.step()))
        if report.seconds_left() < FED_RESERVE_SECONDS and len(losses) > warm_up:
            break
    seconds = time.perf_counter() - start
    tokens = (len(losses) - warm_up) * sizes.num_lanes * NUM_STEPS
    report.measured("training as fed", tokens / seconds, f"tokens/s in {len(losses)} steps")
    report.required("losses are finite", all(map(np.isfinite, losses)), f"{losses[0]:.3f} -> {losses[-1]:.3f}")


def embed(work: Workload, report: Report) -> None:
    """Measure words per second of `ElmoEmbedder` at the original size."""
    encoder = build_encoder(BiLMOptions.from_dict(work.sizes.original, inference=True)).to(work.device)
    embedder = ElmoEmbedder(encoder, batch_size=16_384 if work.is_gpu else 512)
    generator = random.Random(0)
    sentences = [
        [f"word{generator.randint(0, 5000)}" for _ in range(generator.randint(5, 40))]
        for _ in range(20 if work.is_dry_run else 4000)
    ]
    embedder.embed_batch(sentences[:200])
    start = time.perf_counter()
    num_words = sum(vectors.shape[1] for vectors in embedder.embed_sentences(sentences))
    report.measured("vectors of all layers", num_words / (time.perf_counter() - start), "words/s")


SECTIONS = {
    "types": train_in_both_types,
    "perplexity": train_to_perplexity,
    "as fed": train_as_fed,
    "embedding": embed,
}
