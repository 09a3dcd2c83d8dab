"""SIGINT and SIGTERM as requests to end in good order."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Optional

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """
    Between `install` and `restore` the first SIGINT or SIGTERM calls `on_stop` with its number, and the second ends the process at
    once, as if it had never been handled.

    `notice` is a line for standard error when the first one comes.
    """

    def __init__(self, on_stop: Callable[[int], None], notice: str) -> None:
        self._on_stop = on_stop
        self._notice = notice
        self._former: dict[int, Any] = {}
        self._received: Optional[int] = None

    def install(self) -> None:
        """Puts the handlers in place. Does nothing outside the main thread, where Python allows none."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in STOP_SIGNALS:
            self._former[number] = signal.signal(number, self._receive)

    def restore(self) -> None:
        """Gives the signals back to the handlers they had before `install`."""
        while self._former:
            number, handler = self._former.popitem()
            # None: it was not set by Python, which cannot set it again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _receive(self, number: int, frame: Optional[FrameType]) -> None:
        if self._received is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._received = number
        # Not logged: the signal may have come in the middle of a line of the log.
        os.write(2, f"\n{signal.Signals(number).name}: {self._notice}\n".encode())
        self._on_stop(number)
