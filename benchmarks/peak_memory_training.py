"""
Peak memory of training at the original size with the original vocabulary of 793,471 words, and its parts.

A child process makes some steps. Its peak is counted above imports, text and batches. The table also lists the parts that every
implementation of the step needs: the weights, Adagrad's sums, and the activations of one batch that the backward pass needs. The
gradients for the optimizer are listed too; they are allocated while activations are freed.
"""

from pathlib import Path

import torch

from allennlp_elmo_plus.data.corpus.encoded_corpus import EncodedCorpus

from .measurement.peak_memory import Meter
from .measurement.report import Case, Figures, Report
from .measurement.settings import Settings
from .workloads.corpora import sample_corpus, training_batches
from .workloads.model_sizes import RELEASED_VOCABULARY, Options, released_original, tiny
from .workloads.training_step import TrainingJob

NUM_STEPS = 3


def run(settings: Settings) -> Report:
    options = settings.size(released_original(), tiny())
    vocab_size, num_lanes = settings.size((RELEASED_VOCABULARY, 32), (500, 4))
    measured = settings.peak_of(
        "benchmarks.peak_memory_training:in_child",
        options=options,
        vocab_size=vocab_size,
        num_lanes=num_lanes,
        num_tokens=settings.tokens(200_000, 2_000),
        scratch=str(settings.scratch),
    ).result
    parts = {name: measured[name] for name in ("weights", "Adagrad sums", "activations of a batch")}
    total = sum(parts.values())
    lines = [Figures(name, peak_bytes=size, ratio=size / total) for name, size in parts.items()]
    lines.append(Figures("these together", peak_bytes=total, ratio=1.0))
    lines.append(Figures("gradients", peak_bytes=measured["gradients"], ratio=measured["gradients"] / total))
    lines.append(Figures("peak of training", peak_bytes=measured["peak"], ratio=measured["peak"] / total))
    return Report(
        "peak_memory_training",
        "peak memory of training at the original size",
        [Case(f"{vocab_size:,} words, batch {num_lanes} x 20", lines)],
        ratio_is="memory / that of weights, Adagrad's sums and activations together",
    )


def in_child(
    meter: Meter, options: Options, vocab_size: int, num_lanes: int, num_tokens: int, scratch: str
) -> dict[str, int]:
    """Return the bytes of each part, and the peak."""
    torch.manual_seed(0)
    corpus = sample_corpus(Path(scratch), num_tokens)
    batches = training_batches(corpus, vocab_size, num_lanes, options["n_negative_samples_batch"], NUM_STEPS)
    _take_a_tiny_step(corpus)
    meter.start()
    job = TrainingJob(options, vocab_size, batches)
    for _ in range(NUM_STEPS):
        job.step()
    # Read before the parts are counted, because counting allocates memory.
    peak = meter.peak_bytes()
    job.optimizer.zero_grad()
    activations = _Activations({parameter.untyped_storage().data_ptr() for parameter in job.model.parameters()})
    with torch.autograd.graph.saved_tensors_hooks(activations.count, lambda tensor: tensor):
        job.backward()
    parameters = list(job.model.parameters())
    sums = [value for state in job.optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
    return {
        "weights": sum(map(_bytes, parameters)),
        "Adagrad sums": sum(map(_bytes, sums)),
        "activations of a batch": activations.num_bytes,
        "gradients": sum(_bytes(parameter.grad) for parameter in parameters if parameter.grad is not None),
        "peak": peak,
    }


def _take_a_tiny_step(corpus: EncodedCorpus) -> None:
    """Make a small step, so that all code is imported and compiled."""
    options = tiny()
    TrainingJob(options, 500, training_batches(corpus, 500, 4, options["n_negative_samples_batch"], 1)).step()


class _Activations:
    """Counts the bytes of the tensors that autograd saves, each storage once, without the storages `excluded`."""

    def __init__(self, excluded: set[int]) -> None:
        self.num_bytes = 0
        self._counted = excluded

    def count(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._counted:
            self._counted.add(storage.data_ptr())
            self.num_bytes += storage.nbytes()
        return tensor


def _bytes(tensor: torch.Tensor) -> int:
    if tensor.is_sparse:
        # Not coalesced: the rows of the two directions are separate until the optimizer sums them.
        return _bytes(tensor._indices()) + _bytes(tensor._values())
    return tensor.numel() * tensor.element_size()
