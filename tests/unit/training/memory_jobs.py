"""Training steps for a child process whose memory is measured; a module of its own, so that the child imports little."""

from pathlib import Path
from typing import Any

import torch

from benchmarks.measurement.peak_memory import Meter
from benchmarks.workloads.corpora import sample_corpus, training_batches
from benchmarks.workloads.model_sizes import tiny
from benchmarks.workloads.training_step import TrainingJob

# The optimizer allocates its sums in the first step, so the second step has the peak.
NUM_STEPS = 2


def peaks_of_training(meter: Meter, jobs: list[dict[str, Any]], scratch: str) -> list[int]:
    """Run NUM_STEPS steps of each of `jobs` (options, vocab_size, batch_size). Return the peak of each in bytes."""
    torch.manual_seed(0)
    corpus = sample_corpus(Path(scratch), 20_000)

    def batches_of(options: dict[str, Any], vocab_size: int, batch_size: int, num_batches: int) -> Any:
        return training_batches(corpus, vocab_size, batch_size, options["n_negative_samples_batch"], num_batches)

    # The first step imports and compiles code, whose memory is not a job's.
    TrainingJob(tiny(), 500, batches_of(tiny(), 500, 4, 1)).step()
    peaks = []
    for job in jobs:
        batches = batches_of(**job, num_batches=NUM_STEPS)
        meter.start()
        training = TrainingJob(job["options"], job["vocab_size"], batches)
        for _ in range(NUM_STEPS):
            training.step()
        peaks.append(meter.peak_bytes())
        del training, batches
    return peaks
