"""The metric `bilm`."""

from typing import Any, Optional

import torch
from allennlp.training.metrics import Metric
from overrides import overrides

from allennlp_elmo_plus.training.perplexity import PerplexitySums


@Metric.register("bilm")
class BilmPerplexity(Metric):
    """Token-weighted perplexity of both directions together (their geometric mean) and of each; see `training.perplexity`.

    Registered as a `Metric` with name "bilm".

    Args:
        name: the name of the metric. A bidirectional model also has `forward_` and `backward_` before it.
    """

    def __init__(self, name: str = "perplexity") -> None:
        self.name = name
        self._sums = PerplexitySums()

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
        self._sums.add(
            forward_nll_sum.item(), None if backward_nll_sum is None else backward_nll_sum.item(), num_targets
        )

    @overrides
    def get_metric(self, reset: bool = False) -> dict[str, float]:
        """Return the perplexities by name; NaN where no target was counted."""
        both, forward, backward = self._sums.perplexities()
        if reset:
            self.reset()
        if backward is None:
            return {self.name: both}
        return {self.name: both, f"forward_{self.name}": forward, f"backward_{self.name}": backward}

    def sum_over_processes(self, device: torch.device) -> None:
        """Add up the sums of all processes of a distributed training, which call this together, on `device`."""
        self._sums.sum_over_processes(device)

    @overrides
    def reset(self) -> None:
        self._sums = PerplexitySums()

    def state_dict(self) -> dict[str, Any]:
        """Return the sums so far."""
        return dict(vars(self._sums))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore sums that `state_dict` returned."""
        vars(self._sums).update(state_dict)
