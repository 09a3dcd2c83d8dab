"""The metrics of the model "bilm"."""

from typing import Any, Optional

import torch
from allennlp.nn.util import dist_reduce_sum

from allennlp_elmo_plus.plugin.training.metrics.bilm_perplexity import BilmPerplexity
from allennlp_elmo_plus.training.distributed.world import world
from allennlp_elmo_plus.training.throughput import Throughput


class BilmMetrics:
    """Perplexities of the sampled and of the exact softmax, and the tokens per second of training and of evaluation."""

    def __init__(self) -> None:
        self._sampled = BilmPerplexity("sampled_perplexity")
        self._exact = BilmPerplexity()
        # Training and evaluation each compile their own kernels, which the first batches wait for.
        self._training_throughput, self._evaluation_throughput = Throughput(), Throughput()

    def start_batch(self, num_targets: int, is_training: bool) -> None:
        """Start the clock of a batch of `num_targets` targets."""
        self._throughput(is_training).start_batch(num_targets)

    def add(
        self,
        forward_nll_sum: torch.Tensor,
        backward_nll_sum: Optional[torch.Tensor],
        num_targets: int,
        is_sampled: bool,
    ) -> None:
        """Add the sums of a batch, () nats each, to those of the sampled or of the exact softmax."""
        (self._sampled if is_sampled else self._exact)(forward_nll_sum, backward_nll_sum, num_targets)

    def read(self, is_training: bool, is_sampled: bool, device: torch.device, reset: bool) -> dict[str, float]:
        """Return the perplexities and `tokens_per_second`, as `BilmModel.get_metrics` does; sums are exchanged on `device`."""
        metric, throughput = self._sampled if is_sampled else self._exact, self._throughput(is_training)
        tokens_per_second = throughput.tokens_per_second()
        if reset and is_training and world().num_processes > 1:
            metric.sum_over_processes(device)
            tokens_per_second = dist_reduce_sum(tokens_per_second)
        metrics = {**metric.get_metric(reset), "tokens_per_second": tokens_per_second}
        if reset:
            throughput.reset()
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Return the sums of both perplexities."""
        return {"sampled": self._sampled.state_dict(), "exact": self._exact.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the sums that `state_dict` returned."""
        self._sampled.load_state_dict(state["sampled"])
        self._exact.load_state_dict(state["exact"])

    def _throughput(self, is_training: bool) -> Throughput:
        return self._training_throughput if is_training else self._evaluation_throughput
