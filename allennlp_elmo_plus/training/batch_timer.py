"""The mean time of a batch after the warm-up."""

import time
from typing import Optional


class BatchTimer:
    """A timer of batches, the time between batches included.

    Args:
        num_warm_up: Number of first batches, at least 1, that are not measured: kernels are compiled and memory is allocated.

    Raises:
        ValueError: `num_warm_up` is below 1.
    """

    def __init__(self, num_warm_up: int = 5) -> None:
        if num_warm_up < 1:
            raise ValueError(f"`num_warm_up` must be at least 1, got {num_warm_up}")
        self._num_warm_up = num_warm_up
        self._num_done = 0
        self._started = 0.0

    @property
    def num_measured(self) -> int:
        """Return the number of batches after the warm-up."""
        return max(0, self._num_done - self._num_warm_up)

    def batch_done(self) -> None:
        """Count a batch; must be called at the end of each batch."""
        self._num_done += 1
        if self._num_done == self._num_warm_up:
            self._started = time.perf_counter()

    def seconds_per_batch(self) -> Optional[float]:
        """Return the mean time of a measured batch, or None before the first one."""
        if not self.num_measured:
            return None
        return (time.perf_counter() - self._started) / self.num_measured
