"""Handlers of SIGINT, SIGTERM and SIGUSR1 that request an orderly end of the training."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Optional

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Windows has no SIGUSR1. It may be sent repeatedly, also by a process that does not know whether another one has sent it.
REQUEST: Optional[signal.Signals] = getattr(signal, "SIGUSR1", None)


class StopSignals:
    """Signal handlers between `install` and `restore`: the first SIGINT, SIGTERM or SIGUSR1 calls `on_stop`.

    A second SIGINT or SIGTERM ends the process at once, as without a handler. Further SIGUSR1 are ignored.

    Args:
        on_stop: Called with the number of the first signal.
        notice: A line that the first signal writes to stderr. None writes nothing.
    """

    def __init__(self, on_stop: Callable[[int], None], notice: Optional[str]) -> None:
        self._on_stop = on_stop
        self._notice = notice
        self._former_handlers: dict[int, Any] = {}
        self._is_stop_requested = self._has_received_stop_signal = False

    def install(self) -> None:
        """Install the handlers. Outside the main thread, where Python allows no handlers, nothing happens."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (*STOP_SIGNALS, REQUEST):
            if number is not None:
                self._former_handlers[number] = signal.signal(number, self._receive)

    def restore(self) -> None:
        """Restore the handlers from before `install`."""
        while self._former_handlers:
            number, handler = self._former_handlers.popitem()
            # None: the handler was not set by Python, which cannot restore it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _receive(self, number: int, frame: Optional[FrameType]) -> None:
        if number in STOP_SIGNALS:
            if self._has_received_stop_signal:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            self._has_received_stop_signal = True
        if self._is_stop_requested:
            return
        self._is_stop_requested = True
        if self._notice is not None:
            # Not logged: the signal may have come in the middle of a line of the log.
            os.write(2, f"\n{signal.Signals(number).name}: {self._notice}\n".encode())
        self._on_stop(number)
