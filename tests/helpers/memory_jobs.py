"""Training steps for a child process whose memory is measured."""

from pathlib import Path
from typing import Any

import torch

from benchmarks.corpora import sample_corpus, training_batches
from benchmarks.model_sizes import tiny
from benchmarks.peak_memory import Meter
from benchmarks.training_step import TrainingJob

# The second is the first that finds the optimizer's sums there.
NUM_STEPS = 2


def peaks_of_training(meter: Meter, jobs: list[dict[str, Any]], scratch: str) -> list[int]:
    """The peak, in bytes, of some steps of each of `jobs` (options, vocab_size, batch_size), one after the other."""
    torch.manual_seed(0)
    corpus = sample_corpus(Path(scratch), 20_000)

    def batches_of(options: dict[str, Any], vocab_size: int, batch_size: int, num_batches: int) -> Any:
        return training_batches(corpus, vocab_size, batch_size, options["n_negative_samples_batch"], num_batches)

    # Some code is imported, or compiled, at the first step.
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
