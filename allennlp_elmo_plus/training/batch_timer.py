"""How long a batch takes, once the first ones are over."""

import time
from typing import Optional


class BatchTimer:
    """Seconds a batch, whatever lies between batches included. The first `num_warm_up` batches, in which loops are compiled and
    memory is taken, are not counted. Raises `ValueError` for a `num_warm_up` below 1.
    """

    def __init__(self, num_warm_up: int = 5) -> None:
        if num_warm_up < 1:
            raise ValueError(f"`num_warm_up` must be at least 1, got {num_warm_up}")
        self._num_warm_up = num_warm_up
        self._num_done = 0
        self._started = 0.0

    @property
    def num_measured(self) -> int:
        return max(0, self._num_done - self._num_warm_up)

    def batch_done(self) -> None:
        """To be called at the end of each batch."""
        self._num_done += 1
        if self._num_done == self._num_warm_up:
            self._started = time.perf_counter()

    def seconds_per_batch(self) -> Optional[float]:
        """None until a batch was measured."""
        if not self.num_measured:
            return None
        return (time.perf_counter() - self._started) / self.num_measured
