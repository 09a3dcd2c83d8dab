import math
from typing import Any

import pytest
import torch
import torch.distributed as dist
from allennlp.common import Params
from allennlp.training.metrics import Metric

import allennlp_elmo_plus.plugin  # noqa: F401
from allennlp_elmo_plus.plugin.training.metrics.bilm_perplexity import BilmPerplexity
from tests.helpers.runs.process_pool import ProcessPool


def double(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.double)


def test_every_target_counts_once_whatever_the_batches() -> None:
    nlls = [0.5, 2.0, 3.5, 1.0, 0.25, 4.0, 2.5]
    backward = [nll * 0.7 for nll in nlls]
    for cuts in ([7], [1, 6], [3, 3, 1]):
        metric, start = BilmPerplexity(), 0
        for size in cuts:
            metric(double(sum(nlls[start : start + size])), double(sum(backward[start : start + size])), size)
            start += size
        result = metric.get_metric()
        assert result["forward_perplexity"] == pytest.approx(math.exp(sum(nlls) / 7), rel=1e-12)
        assert result["backward_perplexity"] == pytest.approx(math.exp(sum(backward) / 7), rel=1e-12)
        geometric_mean = math.sqrt(result["forward_perplexity"] * result["backward_perplexity"])
        assert result["perplexity"] == pytest.approx(geometric_mean, rel=1e-12)


def test_overflow_is_infinity_and_nothing_is_not_a_number() -> None:
    metric = BilmPerplexity()
    assert math.isnan(metric.get_metric()["perplexity"])
    metric(double(1000.0), double(1.0), 1)
    assert metric.get_metric()["forward_perplexity"] == math.inf
    assert metric.get_metric()["perplexity"] == pytest.approx(math.exp(500.5))


def summed_state() -> dict[str, Any]:
    rank = dist.get_rank()
    metric = BilmPerplexity()
    metric(double(1.5 * rank), double(2.0**-40 + rank), 10**9 + rank)
    metric.sum_over_processes(torch.device("cpu"))
    return metric.state_dict()


def test_sums_over_processes_are_exact(processes: ProcessPool) -> None:
    sums = {"forward_nll": 4.5, "backward_nll": 3 * 2.0**-40 + 3, "num_targets": 3 * 10**9 + 3}
    assert processes.run(3, summed_state) == [sums] * 3


def test_the_metric_has_three_perplexities_and_can_be_reset() -> None:
    metric = Metric.from_params(Params({"type": "bilm"}))
    metric(torch.tensor(6.0), torch.tensor(3.0), 3)
    expected = {"perplexity": math.exp(1.5), "forward_perplexity": math.exp(2), "backward_perplexity": math.exp(1)}
    assert metric.get_metric() == pytest.approx(expected)
    assert metric.get_metric(reset=True) == pytest.approx(expected)
    assert math.isnan(metric.get_metric()["perplexity"])


def test_a_forward_model_has_one_perplexity() -> None:
    metric = Metric.from_params(Params({"type": "bilm", "name": "sampled_perplexity"}))
    metric(torch.tensor(6.0), None, 3)
    assert metric.get_metric() == pytest.approx({"sampled_perplexity": math.exp(2)})


def test_a_saved_state_does_not_change_with_later_batches() -> None:
    metric = Metric.from_params(Params({"type": "bilm"}))
    metric(torch.tensor(6.0), torch.tensor(3.0), 3)
    state = metric.state_dict()
    expected = metric.get_metric()
    metric(torch.tensor(60.0), torch.tensor(30.0), 3)
    restored = Metric.from_params(Params({"type": "bilm"}))
    restored.load_state_dict(state)
    assert restored.get_metric() == expected
