"""The estimate of the memory that training needs, compared with measured peaks."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from allennlp_elmo_plus.modules.build import build_language_model
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.training.memory_estimate import estimate_training_memory
from benchmarks.measurement.peak_memory import peak_of
from benchmarks.workloads.model_sizes import bilm_options
from tests.helpers.small_models import small_options

FILTERS = [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256]]
# The largest ratio of estimate and measured peak, in either direction.
MAX_RATIO = 1.3


def jobs() -> list[dict[str, Any]]:
    """Return two trainings: one in which the LSTM's activations need most of the memory, one in which the vocabulary does."""
    large_lstm = bilm_options(512, 128, FILTERS, 1, 512, dropout=0.1)
    small_lstm = bilm_options(128, 64, FILTERS, 1, 2048, dropout=0.1)
    return [
        {"options": large_lstm, "vocab_size": 3_000, "batch_size": 32},
        {"options": small_lstm, "vocab_size": 200_000, "batch_size": 16},
    ]


@pytest.fixture(scope="module")
def measured_peaks(tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    scratch = str(tmp_path_factory.mktemp("scratch"))
    return peak_of(
        "tests.unit.training.memory_jobs:peaks_of_training", num_threads=1, jobs=jobs(), scratch=scratch
    ).result


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1], ids=["activations", "vocabulary"])
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are measured by Linux")
def test_the_estimate_is_within_30_percent_of_the_measured_peak(measured_peaks: list[int], number: int) -> None:
    job, peak = jobs()[number], measured_peaks[number]
    options = BiLMOptions.from_dict(job["options"], inference=False)
    estimate = estimate_training_memory(options, job["vocab_size"], job["batch_size"], options.unroll_steps)
    assert peak / MAX_RATIO < estimate.total < peak * MAX_RATIO


@pytest.mark.parametrize(
    "overrides",
    [{}, {"bidirectional": False}, {"char_cnn": None}, {"char_cnn": None, "share_embedding_softmax": True}],
    ids=["usual", "forward only", "words", "shared"],
)
def test_the_estimate_has_the_bytes_of_the_weights_and_of_the_optimizers_sums(overrides: dict[str, Any]) -> None:
    options = small_options(**overrides)
    weights = sum(parameter.numel() for parameter in build_language_model(options, 40).parameters()) * 4
    estimate = estimate_training_memory(options, 40, 2, 5, sums_per_weight=2)
    assert (estimate.weights, estimate.optimizer) == (weights, 2 * weights)
    assert estimate.total == sum(estimate)


def test_the_estimate_grows_with_lanes_steps_vocabulary_and_filter_width() -> None:
    options = BiLMOptions.from_dict(jobs()[0]["options"], inference=False)
    base = estimate_training_memory(options, 5_000, 32, 20)
    assert estimate_training_memory(options, 5_000, 64, 20).activations > 1.8 * base.activations
    assert estimate_training_memory(options, 5_000, 32, 40).activations > 1.7 * base.activations
    assert estimate_training_memory(options, 50_000, 32, 20).weights > base.weights + 45_000 * 128 * 4
    narrow, wide = (
        estimate_training_memory(
            BiLMOptions.from_dict(bilm_options(32, 32, [[width, 512]], 1, 512), inference=False), 5_000, 32, 20
        )
        for width in (3, 30)
    )
    assert wide.activations > narrow.activations
    dense = estimate_training_memory(options, 50_000, 32, 20, dense_gradients=True)
    assert dense.softmax == estimate_training_memory(options, 50_000, 32, 20).softmax + 50_000 * 129 * 4
    exact = dataclasses.replace(options, sample_softmax=False)
    assert estimate_training_memory(exact, 50_000, 32, 20).softmax > 50_000 * 128 * 4
    assert estimate_training_memory(options, 5_000, 32, 20, on_accelerator=True).total > base.total
    assert torch.tensor(base).min() > 0
