"""Token-weighted perplexity of a bidirectional language model."""

import math
from typing import NamedTuple, Optional

import torch
import torch.distributed as dist


class Perplexities(NamedTuple):
    """The exponential of the mean negative log-likelihood per target: of both directions together, and of each."""

    both: float
    forward: float
    backward: Optional[float]  # None for a forward-only model


def exp_or_inf(nll_mean: float) -> float:
    """Return exp(`nll_mean`), or infinity where it overflows, above 709 nats."""
    try:
        return math.exp(nll_mean)
    except OverflowError:
        return math.inf


class PerplexitySums:
    """Sums of negative log-likelihoods in nats and of targets, in double precision.

    The perplexity of `both` directions is their geometric mean, exp(0.5 * (forward nll + backward nll) / targets), as bilm-tf
    reports it, with one difference: bilm-tf averages the means of batches and drops the tokens of lanes that end early. Here each
    target counts once, independent of the batches.
    """

    def __init__(self) -> None:
        self.forward_nll = 0.0
        self.backward_nll: Optional[float] = None
        self.num_targets = 0

    def add(self, forward_nll: float, backward_nll: Optional[float], num_targets: int) -> None:
        """Add the summed nll of each direction, None for no backward direction, over `num_targets` targets."""
        self.forward_nll += forward_nll
        if backward_nll is not None:
            self.backward_nll = (self.backward_nll or 0.0) + backward_nll
        self.num_targets += num_targets

    def sum_over_processes(self, device: torch.device) -> None:
        """Replace the sums by those over all processes of `torch.distributed`, which must call this together, via `device`."""
        sums = torch.tensor([self.forward_nll, self.backward_nll or 0.0, self.num_targets], dtype=torch.double)
        sums = sums.to(device)
        dist.all_reduce(sums)
        self.forward_nll, backward_nll, num_targets = sums.tolist()
        self.backward_nll = None if self.backward_nll is None else backward_nll
        self.num_targets = round(num_targets)

    def perplexities(self) -> Perplexities:
        """Return the perplexities of all added batches; NaN before the first batch."""
        if not self.num_targets:
            return Perplexities(math.nan, math.nan, None if self.backward_nll is None else math.nan)
        forward = self.forward_nll / self.num_targets
        if self.backward_nll is None:
            return Perplexities(exp_or_inf(forward), exp_or_inf(forward), None)
        backward = self.backward_nll / self.num_targets
        return Perplexities(exp_or_inf((forward + backward) / 2), exp_or_inf(forward), exp_or_inf(backward))
