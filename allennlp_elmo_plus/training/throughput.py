"""How fast text goes by."""

import time
from typing import Optional


class Throughput:
    """Tokens per second since the first batch after the last `reset`, waiting for data included. A token is a target: a word or the
    end of a sentence, counted once for both directions, as bilm-tf counts them.

    The first `num_warm_up` batches, in which loops are compiled and memory is taken, count only until they are over: with the next
    batch clock and tokens start from 0. They are the first ones since the object was made, whatever was reset in between.
    """

    def __init__(self, num_warm_up: int = 5) -> None:
        self._num_warm_up = num_warm_up
        self._num_batches = 0
        self._started: Optional[float] = None
        self._num_tokens = 0

    def start_batch(self, num_tokens: int) -> None:
        """Counts the tokens of a batch. To be called at the beginning of each batch."""
        if self._started is None or self._num_batches == self._num_warm_up:
            self._started = time.perf_counter()
            self._num_tokens = 0
        self._num_batches += 1
        self._num_tokens += num_tokens

    def tokens_per_second(self) -> float:
        """Returns 0 before the first batch."""
        if self._started is None:
            return 0.0
        # The clock's resolution, so that a batch faster than it does not divide by zero.
        return self._num_tokens / max(time.perf_counter() - self._started, 1e-9)

    def reset(self) -> None:
        """Forgets tokens and time, but not how many batches there have been."""
        self._started = None
        self._num_tokens = 0
