"""Log lines on the terminal: short, and never in a progress bar."""

import logging

from tqdm import tqdm


class TerminalFormatter(logging.Formatter):
    """Writes the time and the message; before the message the level, from a warning on."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line of `record`."""
        if record.levelno >= logging.WARNING:
            record.message = f"{record.levelname.lower()}: {record.message}"
        return super().formatMessage(record)


class TerminalHandler(logging.StreamHandler):
    """Writes log lines above the open progress bars, never into one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line of `record`."""
        # A bar that is being constructed has no `disable` yet: it asks for its length, and a data loader may log then.
        bars = [bar for bar in list(getattr(tqdm, "_instances", ())) if not getattr(bar, "disable", True)]
        for bar in bars:
            bar.clear()
        super().emit(record)
        for bar in bars:
            bar.refresh()
