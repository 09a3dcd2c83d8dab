"""The metric `bilm`."""

from typing import Any, Optional

import torch
from allennlp.training.metrics import Metric

from allennlp_elmo_plus.training.perplexity import PerplexitySums


@Metric.register("bilm")
class BilmPerplexity(Metric):
    """Token-weighted perplexity of both directions together (their geometric mean) and of each; see `training.perplexity`.

    Registered as a `Metric` with name "bilm".

    # Parameters

    name : `str`, optional (default = `"perplexity"`)
        What the metric is called: `name`, `forward_name` and `backward_name`, the last two only for a bidirectional model.
    """

    def __init__(self, name: str = "perplexity") -> None:
        self.name = name
        self._sums = PerplexitySums()

    def __call__(
        self, forward_nll_sum: torch.Tensor, backward_nll_sum: Optional[torch.Tensor], num_targets: int
    ) -> None:
        """forward_nll_sum, backward_nll_sum (): nats summed over the `num_targets` targets of a batch; backward_nll_sum is None for a
        forward-only model.
        """
        self._sums.add(
            forward_nll_sum.item(), None if backward_nll_sum is None else backward_nll_sum.item(), num_targets
        )

    def get_metric(self, reset: bool = False) -> dict[str, float]:
        """Not a number where nothing was counted."""
        both, forward, backward = self._sums.perplexities()
        if reset:
            self.reset()
        if backward is None:
            return {self.name: both}
        return {self.name: both, f"forward_{self.name}": forward, f"backward_{self.name}": backward}

    def sum_over_processes(self, device: torch.device) -> None:
        """Adds up what each process of a distributed training has counted; all of them call it together."""
        self._sums.sum_over_processes(device)

    def reset(self) -> None:
        self._sums = PerplexitySums()

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""
        return dict(vars(self._sums))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from sums that `state_dict` gave."""
        vars(self._sums).update(state_dict)
