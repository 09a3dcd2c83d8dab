"""The metric `bilm`."""

import math
from typing import Any, Optional

import torch
import torch.distributed as dist
from allennlp.training.metrics import Metric
from overrides import overrides


@Metric.register("bilm")
class BilmPerplexity(Metric):
    """Token-weighted perplexity of both directions together (their geometric mean) and of each.

    The perplexity of both directions is exp(0.5 * (forward nll + backward nll) / targets), as bilm-tf reports it, with one
    difference: bilm-tf averages the means of batches and drops the tokens of lanes that end early. Here each target counts once,
    independent of the batches.

    Args:
        name: the name of the metric. A bidirectional model also has `forward_` and `backward_` before it.
    """

    _forward_nll: float
    _backward_nll: Optional[float]
    _num_targets: int

    def __init__(self, name: str = "perplexity") -> None:
        self.name = name
        self.reset()

    @overrides
    def __call__(
        self, forward_nll_sum: torch.Tensor, backward_nll_sum: Optional[torch.Tensor], num_targets: int
    ) -> None:
        """Add a batch.

        Args:
            forward_nll_sum: (), nats summed over the targets.
            backward_nll_sum: (), likewise; None for a forward-only model.
            num_targets: the number of targets of one direction.
        """
        self._forward_nll += forward_nll_sum.item()
        if backward_nll_sum is not None:
            self._backward_nll = (self._backward_nll or 0.0) + backward_nll_sum.item()
        self._num_targets += num_targets

    @overrides
    def get_metric(self, reset: bool = False) -> dict[str, float]:
        """Return the perplexities by name; NaN where no target was counted."""
        nlls = [nll for nll in (self._forward_nll, self._backward_nll) if nll is not None]
        means = [nll / self._num_targets if self._num_targets else math.nan for nll in nlls]
        if reset:
            self.reset()
        perplexities = {self.name: exp_or_inf(sum(means) / len(means))}
        if len(means) == 2:
            perplexities[f"forward_{self.name}"], perplexities[f"backward_{self.name}"] = map(exp_or_inf, means)
        return perplexities

    def sum_over_processes(self, device: torch.device) -> None:
        """Replace the sums by those over all processes of `torch.distributed`, which must call this together, via `device`."""
        sums = torch.tensor([self._forward_nll, self._backward_nll or 0.0, self._num_targets], dtype=torch.double)
        sums = sums.to(device)
        dist.all_reduce(sums)
        self._forward_nll, backward_nll, num_targets = sums.tolist()
        self._backward_nll = None if self._backward_nll is None else backward_nll
        self._num_targets = round(num_targets)

    @overrides
    def reset(self) -> None:
        self.load_state_dict({"forward_nll": 0.0, "backward_nll": None, "num_targets": 0})

    def state_dict(self) -> dict[str, Any]:
        """Return the sums so far."""
        return {
            "forward_nll": self._forward_nll,
            "backward_nll": self._backward_nll,
            "num_targets": self._num_targets,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore sums that `state_dict` returned."""
        self._forward_nll = state_dict["forward_nll"]
        self._backward_nll = state_dict["backward_nll"]
        self._num_targets = state_dict["num_targets"]


def exp_or_inf(nll_mean: float) -> float:
    """Return exp(`nll_mean`), or infinity where it overflows, above 709 nats."""
    try:
        return math.exp(nll_mean)
    except OverflowError:
        return math.inf
