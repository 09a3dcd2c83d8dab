"""Tokens per second of a training or an evaluation."""

import time
from typing import Optional

# Batches that are not measured: kernels are compiled and memory is allocated.
NUM_WARM_UP = 5


class Throughput:
    """A meter of tokens per second since the first batch after the last `reset`, waiting for data included.

    A token is a target: a word or the end of a sentence, counted once for both directions, as in bilm-tf. Clock and tokens start
    from 0 again after the first `NUM_WARM_UP` batches since construction; a `reset` does not repeat the warm-up.
    """

    def __init__(self) -> None:
        self._num_batches = 0
        self._started: Optional[float] = None
        self._num_tokens = 0

    def start_batch(self, num_tokens: int) -> None:
        """Count the `num_tokens` of a batch; must be called at the beginning of each batch."""
        if self._started is None or self._num_batches == NUM_WARM_UP:
            self._started = time.perf_counter()
            self._num_tokens = 0
        self._num_batches += 1
        self._num_tokens += num_tokens

    def tokens_per_second(self) -> float:
        """Return tokens per second, 0 before the first batch."""
        if self._started is None:
            return 0.0
        # At least the clock's resolution, so that a shorter batch does not divide by zero.
        return self._num_tokens / max(time.perf_counter() - self._started, 1e-9)

    def reset(self) -> None:
        """Drop tokens and time, but not the number of batches."""
        self._started = None
        self._num_tokens = 0
