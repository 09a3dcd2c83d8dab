"""The mean loss of an epoch that was interrupted and resumed."""

import math
from typing import Any, Optional

from allennlp.nn.util import dist_reduce_sum


class EpochLoss:
    """The sum of the losses of this epoch, and the number of its batches that have none.

    AllenNLP's trainer divides the losses since its own last start by all batches of the epoch.
    """

    def __init__(self) -> None:
        self.loss_sum = 0.0
        # In batches of the trainer: where gradients are accumulated, a batch of the data loader is a fraction of one.
        self.batches_without_loss = 0.0

    def add(self, batch_loss: float, num_batches: int) -> Optional[float]:
        """Add `batch_loss` to the sum.

        Returns:
            The mean loss of the first `num_batches` batches of the epoch; None where none of them has a loss.
        """
        self.loss_sum += batch_loss
        num_losses = num_batches - self.batches_without_loss
        return self.loss_sum / num_losses if num_losses > 0 else None

    def mean_over_processes(self, trainer: Any) -> float:
        """Return the mean loss of the epoch over all processes, which call this together; NaN where no batch has a loss."""
        num_losses = dist_reduce_sum(trainer._batches_in_epoch_completed - self.batches_without_loss)
        return dist_reduce_sum(self.loss_sum) / num_losses if num_losses else math.nan
