"""Token-weighted perplexity of a bidirectional language model."""

import math
from typing import NamedTuple, Optional

import torch
import torch.distributed as dist


class Perplexities(NamedTuple):
    """exp of the mean negative log-likelihood a target: of both directions together, and of each."""

    both: float
    forward: float
    backward: Optional[float]  # None for a forward-only model


def exponential(nll_mean: float) -> float:
    """exp, and infinity instead of an error where it overflows (above 709 nats)."""
    try:
        return math.exp(nll_mean)
    except OverflowError:
        return math.inf


class PerplexitySums:
    """Sums of negative log-likelihood (nats) and of targets, in double precision, and the perplexities they give.

    `both` is the geometric mean of the two directions' perplexities, exp(0.5 * (forward nll + backward nll) / targets), as bilm-tf
    reports it, with one difference: bilm-tf averages means of batches and drops the tokens of lanes that end early; here every
    target of the text counts once, whatever the batches were.
    """

    def __init__(self) -> None:
        self.forward_nll = 0.0
        self.backward_nll: Optional[float] = None
        self.num_targets = 0

    def add(self, forward_nll: float, backward_nll: Optional[float], num_targets: int) -> None:
        """Adds a batch: summed nll of each direction (None: there is no backward one) over `num_targets` targets."""
        self.forward_nll += forward_nll
        if backward_nll is not None:
            self.backward_nll = (self.backward_nll or 0.0) + backward_nll
        self.num_targets += num_targets

    def sum_over_processes(self, device: torch.device) -> None:
        """Adds up what each process of `torch.distributed` has, on `device`; all of them call it together."""
        sums = torch.tensor([self.forward_nll, self.backward_nll or 0.0, self.num_targets], dtype=torch.double)
        sums = sums.to(device)
        dist.all_reduce(sums)
        self.forward_nll, backward_nll, num_targets = sums.tolist()
        self.backward_nll = None if self.backward_nll is None else backward_nll
        self.num_targets = round(num_targets)

    def perplexities(self) -> Perplexities:
        """Of all that was added; not a number where nothing was."""
        if not self.num_targets:
            return Perplexities(math.nan, math.nan, None if self.backward_nll is None else math.nan)
        forward = self.forward_nll / self.num_targets
        if self.backward_nll is None:
            return Perplexities(exponential(forward), exponential(forward), None)
        backward = self.backward_nll / self.num_targets
        return Perplexities(exponential((forward + backward) / 2), exponential(forward), exponential(backward))
