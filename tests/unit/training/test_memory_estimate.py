"""The estimate of training's memory, beside what training takes."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from allennlp_elmo_plus.modules.build import build_language_model
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.training.memory_estimate import estimate_training_memory
from benchmarks.model_sizes import bilm_options
from benchmarks.peak_memory import peak_of
from tests.helpers.small_models import small_options

FILTERS = [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256]]
# Of the peak that is measured.
FACTOR = 1.3


def jobs() -> list[dict[str, Any]]:
    """One that the LSTM's activations rule, one that a large vocabulary does."""
    long = bilm_options(512, 128, FILTERS, 1, 512, dropout=0.1)
    wide = bilm_options(128, 64, FILTERS, 1, 2048, dropout=0.1)
    return [
        {"options": long, "vocab_size": 3_000, "batch_size": 32},
        {"options": wide, "vocab_size": 200_000, "batch_size": 16},
    ]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    scratch = str(tmp_path_factory.mktemp("scratch"))
    return peak_of("tests.helpers.memory_jobs:peaks_of_training", num_threads=1, jobs=jobs(), scratch=scratch).result


@pytest.mark.parametrize("number", [0, 1], ids=["activations", "vocabulary"])
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are measured by Linux")
def test_the_estimate_is_near_the_peak(measured: list[int], number: int) -> None:
    job = jobs()[number]
    options = BiLMOptions.from_dict(job["options"], inference=False)
    found = estimate_training_memory(options, job["vocab_size"], job["batch_size"], options.unroll_steps)
    assert measured[number] / FACTOR < found.total < measured[number] * FACTOR


@pytest.mark.parametrize(
    "overrides",
    [{}, {"bidirectional": False}, {"char_cnn": None}, {"char_cnn": None, "share_embedding_softmax": True}],
    ids=["usual", "forward only", "words", "shared"],
)
def test_weights_and_sums_are_those_of_the_model(overrides: dict[str, Any]) -> None:
    options = small_options(**overrides)
    weights = sum(parameter.numel() for parameter in build_language_model(options, 40).parameters()) * 4
    found = estimate_training_memory(options, 40, 2, 5, sums_per_weight=2)
    assert (found.weights, found.optimizer) == (weights, 2 * weights)
    assert found.total == sum(found)


def test_it_grows_with_what_memory_grows_with() -> None:
    options = BiLMOptions.from_dict(jobs()[0]["options"], inference=False)
    base = estimate_training_memory(options, 5_000, 32, 20)
    assert estimate_training_memory(options, 5_000, 64, 20).activations > 1.8 * base.activations
    assert estimate_training_memory(options, 5_000, 32, 40).activations > 1.7 * base.activations
    assert estimate_training_memory(options, 50_000, 32, 20).weights > base.weights + 45_000 * 128 * 4
    wide = bilm_options(32, 32, [[30, 512]], 1, 512)
    narrow = bilm_options(32, 32, [[3, 512]], 1, 512)
    of_filters = [
        estimate_training_memory(BiLMOptions.from_dict(each, inference=False), 5_000, 32, 20) for each in (narrow, wide)
    ]
    assert of_filters[1].activations > of_filters[0].activations
    made_dense = estimate_training_memory(options, 50_000, 32, 20, dense_gradients=True)
    assert made_dense.softmax == estimate_training_memory(options, 50_000, 32, 20).softmax + 50_000 * 129 * 4
    dense = dataclasses.replace(options, sample_softmax=False)
    assert estimate_training_memory(dense, 50_000, 32, 20).softmax > 50_000 * 128 * 4
    assert estimate_training_memory(options, 5_000, 32, 20, on_accelerator=True).total > base.total
    assert torch.tensor(base).min() > 0
