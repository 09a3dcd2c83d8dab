"""What the commands share: one line for an error, arguments that are checked as they are read, a progress bar."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Optional

from allennlp.common.tqdm import Tqdm

from allennlp_elmo_plus.plugin.commands.error_lines import error_line, wants_traceback

# What a shell reports of a command that an interrupt from the keyboard ended.
INTERRUPTED = 130


@contextmanager
def failing_in_one_line(after_interrupt: str = "nothing was written") -> Iterator[None]:
    """Ends the process with status 1 and one line on stderr where its block raises an error that has an `error_line`, and with status
    130 and a line that ends in `after_interrupt` at an interrupt from the keyboard. Any other error, and every error where a
    traceback is wanted, is raised.
    """
    try:
        yield
    except KeyboardInterrupt:
        print(f"\ninterrupted: {after_interrupt}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        line = None if wants_traceback() else error_line(error)
        if line is None:
            raise
        sys.exit(f"error: {line}")


def integer_from(least: int) -> Callable[[str], int]:
    """For `argparse`: a whole number of at least `least`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
        return value

    return parse


def num_usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def progress_bar(total: Optional[int], unit: str, **options: Any) -> Any:
    """AllenNLP's progress bar, with the time that remains where `total` is known."""
    return Tqdm.tqdm(total=total, unit=unit, **options)
