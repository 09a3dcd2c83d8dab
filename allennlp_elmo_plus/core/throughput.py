"""How fast text goes by."""

import time
from typing import Optional


class Throughput:
    """
    Tokens a second since the first `start` after the last `reset`, waiting for data included. A token is a target: a word or the
    end of a sentence, counted once for both directions, as bilm-tf counts them.
    """

    def __init__(self) -> None:
        self._started: Optional[float] = None
        self._num_tokens = 0

    def start(self) -> None:
        """Starts the clock, unless it runs already."""
        if self._started is None:
            self._started = time.perf_counter()

    def add(self, num_tokens: int) -> None:
        self._num_tokens += num_tokens

    def tokens_per_second(self) -> float:
        """0 before the first `start`."""
        if self._started is None:
            return 0.0
        # The clock's resolution, so that a batch faster than it does not divide by zero.
        return self._num_tokens / max(time.perf_counter() - self._started, 1e-9)

    def reset(self) -> None:
        self._started = None
        self._num_tokens = 0
