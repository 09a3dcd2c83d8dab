import pytest
import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.training.optimizers import Optimizer

import allennlp_elmo_plus.plugin  # noqa: F401


def test_the_optimizer_uses_parameter_groups_and_the_global_norm() -> None:
    weight, bias = (torch.nn.Parameter(torch.ones(size, dtype=torch.double)) for size in (2, 1))
    optimizer = Optimizer.from_params(
        Params({"type": "bilm", "max_norm": 1.0, "parameter_groups": [[["bias"], {"lr": 0.0}]]}),
        model_parameters=[("weight", weight), ("bias", bias)],
    )
    weight.grad, bias.grad = torch.tensor([3.0, 0.0], dtype=torch.double), torch.tensor([4.0], dtype=torch.double)
    optimizer.step()
    assert bias.item() == 1.0
    # Norm 5 is clipped to 1: the gradient 3 becomes 0.6.
    assert weight[0].item() == pytest.approx(1 - 0.2 * 0.6 / (1 + 0.36) ** 0.5, rel=1e-12) and weight[1].item() == 1.0


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="BilmOptimizer has no option `learning_rate`|did you mean"):
        Optimizer.from_params(Params({"type": "bilm", "maxnorm": 1.0}), model_parameters=[])
