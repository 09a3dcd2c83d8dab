"""Sizes, batches and training jobs for all parts of the run."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor

from allennlp_elmo_plus.data.batching.batch import LanguageModelBatch
from allennlp_elmo_plus.modules.recurrent.lstm import LstmLayer
from benchmarks.workloads.corpora import sample_corpus, training_batches
from benchmarks.workloads.model_sizes import RELEASED_VOCABULARY, Options, bilm_options, released_original, tiny
from benchmarks.workloads.training_step import TrainingJob


class Sizes(NamedTuple):
    """The sizes of a run on a GPU, or of a dry run on any machine."""

    original: Options  # the model to measure
    vocab_size: int  # of `original`
    num_lanes: int  # of the batches of `original`
    small: Options  # a model that is small enough for a CPU
    trained: Options  # a model to train for some minutes
    trained_vocab_size: int
    trained_lanes: int
    num_updates: int  # of the training of `trained`
    num_tokens: int  # of the generated text
    repeats: int  # of each measurement
    num_epochs: int  # of the training on a text
    loss_limit: float  # nats between the losses of trainings in float32 and in bfloat16


def sizes_of(is_dry_run: bool) -> Sizes:
    """Return the sizes of a run."""
    if is_dry_run:
        return Sizes(tiny(), 500, 4, tiny(), tiny(), 500, 4, 4, 3_000, 2, 1, 0.5)
    small = bilm_options(256, 64, [[1, 16], [2, 16], [3, 32], [7, 64]], n_highway=1, n_negatives=512)
    trained = bilm_options(1024, 256, [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256]], n_highway=1, n_negatives=4096)
    return Sizes(
        released_original(), RELEASED_VOCABULARY, 384, small, trained, 20_000, 128, 500, 2_000_000, 20, 10, 0.05
    )


class Workload:
    """The device, the sizes, a directory for temporary files, and a text to train on; None for a generated text."""

    def __init__(self, device: torch.device, is_dry_run: bool, scratch: Path, text: Optional[Path] = None) -> None:
        self.device = device
        self.is_dry_run = is_dry_run
        self.sizes = sizes_of(is_dry_run)
        self.scratch = scratch
        self.text = text

    @property
    def is_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def half(self) -> torch.dtype:
        """Return the dtype of the products to measure: bfloat16 on a GPU, float32 on a CPU."""
        return torch.bfloat16 if self.is_gpu else torch.float32

    def batches(self, options: Options, vocab_size: int, num_lanes: int, count: int) -> list[LanguageModelBatch]:
        """Return the first `count` batches of the generated text, on the CPU."""
        corpus = sample_corpus(self.scratch, self.sizes.num_tokens)
        return training_batches(corpus, vocab_size, num_lanes, options["n_negative_samples_batch"], count)

    def small_batches(self, count: int) -> list[LanguageModelBatch]:
        """Return `count` batches for `sizes.small`, on the CPU."""
        return self.batches(self.sizes.small, 600, 4, count)

    def job(
        self, options: Options, vocab_size: int, batches: Iterable[LanguageModelBatch], bfloat16: bool, seed: int = 0
    ) -> TrainingJob:
        """Return a training job on the device, with weights drawn from `seed`. Each batch is moved to the device when it is used."""
        torch.manual_seed(seed)
        moved_batches = (batch.to(self.device) for batch in batches)
        return TrainingJob(options, vocab_size, moved_batches, bfloat16, self.device)

    def synchronize(self) -> None:
        """Wait until the device has finished."""
        if self.is_gpu:
            torch.cuda.synchronize(self.device)

    def milliseconds(self, function: Callable[[], Any], repeats: int = 0, calls: int = 1) -> float:
        """
        Return the median time of a call of `function`, over `repeats` measurements of `calls` calls each, after a few warm-up calls.
        On a GPU, the host launches all calls of a measurement without waiting.
        """
        repeats = repeats or self.sizes.repeats
        for _ in range(min(repeats, 4)):
            function()
        self.synchronize()
        times = []
        for _ in range(repeats):
            if self.is_gpu:
                start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                start.record()
                for _ in range(calls):
                    function()
                end.record()
                end.synchronize()
                times.append(start.elapsed_time(end) / calls)
            else:
                begin = time.perf_counter()
                for _ in range(calls):
                    function()
                times.append(1e3 * (time.perf_counter() - begin) / calls)
        return float(np.median(times))


def graph_states(job: TrainingJob) -> list[str]:
    """Return the state of the CUDA graph of each LSTM layer; the graph of a forward layer computes both directions."""
    layers = [layer for layer in job.model.bilm.forward_layers if isinstance(layer, LstmLayer)]
    return [layer.capture.state for layer in layers]


def relative_error(ours: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference divided by the norm of `expected`, in float64."""
    ours, expected = (
        (tensor.to_dense() if tensor.is_sparse else tensor).detach().cpu().double() for tensor in (ours, expected)
    )
    return float((ours - expected).norm() / expected.norm().clamp(min=1e-30))


def worst_error(ours: Iterable[Tensor], expected: Iterable[Tensor]) -> float:
    """Return the largest `relative_error` of all pairs; NaN if one of them is NaN."""
    return float(np.max([relative_error(*pair) for pair in zip(ours, expected, strict=True)]))
