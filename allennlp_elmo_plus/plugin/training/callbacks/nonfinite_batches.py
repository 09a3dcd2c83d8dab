"""The answer to losses and gradient norms that are not finite."""

import logging
from typing import Any

from allennlp_elmo_plus.errors import count_in_words

logger = logging.getLogger(__name__)


class NonfiniteBatches:
    """A count of skipped batches, at most `max_skipped` in the whole run."""

    def __init__(self, max_skipped: int) -> None:
        self.num_skipped = 0
        self._max_skipped = max_skipped

    def skip_or_raise(self, trainer: Any, quantity: str, value: float) -> None:
        """Count one more skipped batch and log a warning: its `quantity`, such as "loss", has the `value`, which is not finite.

        Raises:
            FloatingPointError: where `max_skipped` batches were skipped before.
        """
        message = (
            f"the {quantity} is {value} in batch {trainer._batches_in_epoch_completed + 1} of epoch "
            f"{trainer._epochs_completed + 1}"
        )
        if self.num_skipped == self._max_skipped:
            if self.num_skipped:
                message += f" after {count_in_words(self.num_skipped, 'skipped batch', 'skipped batches')}"
            raise FloatingPointError(f"{message}: the run ends, and its last checkpoint stands")
        self.num_skipped += 1
        logger.warning("%s: it is skipped, as %d of %d may be", message, self.num_skipped, self._max_skipped)
