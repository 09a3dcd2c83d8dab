import math

import pytest
import torch
from allennlp.common import Params
from allennlp.training.metrics import Metric

import allennlp_elmo_plus.plugin  # noqa: F401


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
