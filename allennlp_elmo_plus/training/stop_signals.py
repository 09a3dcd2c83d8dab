"""SIGINT, SIGTERM and SIGUSR1 as requests to end in good order."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Optional

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Not everywhere; and what asks where it may not be known whether somebody else has asked already.
REQUEST: Optional[signal.Signals] = getattr(signal, "SIGUSR1", None)


class StopSignals:
    """Between `install` and `restore` the first SIGINT, SIGTERM or SIGUSR1 calls `on_stop` with its number. A second SIGINT or SIGTERM
    ends the process at once, as if it had never been handled; SIGUSR1 may come as often as it likes.

    `notice` is a line for standard error when the first one comes.
    """

    def __init__(self, on_stop: Callable[[int], None], notice: str) -> None:
        self._on_stop = on_stop
        self._notice = notice
        self._former: dict[int, Any] = {}
        self._is_asked = self._is_told = False

    def install(self) -> None:
        """Puts the handlers in place. Does nothing outside the main thread, where Python allows none."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (*STOP_SIGNALS, REQUEST):
            if number is not None:
                self._former[number] = signal.signal(number, self._receive)

    def restore(self) -> None:
        """Gives the signals back to the handlers they had before `install`."""
        while self._former:
            number, handler = self._former.popitem()
            # None: it was not set by Python, which cannot set it again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _receive(self, number: int, frame: Optional[FrameType]) -> None:
        if number in STOP_SIGNALS:
            if self._is_told:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            self._is_told = True
        if self._is_asked:
            return
        self._is_asked = True
        # Not logged: the signal may have come in the middle of a line of the log.
        os.write(2, f"\n{signal.Signals(number).name}: {self._notice}\n".encode())
        self._on_stop(number)
