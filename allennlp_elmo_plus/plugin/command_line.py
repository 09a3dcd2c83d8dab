"""What the commands share: one line for an error, arguments that are checked as they are read, a progress bar."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Optional

from allennlp.common.checks import ConfigurationError
from allennlp.common.tqdm import Tqdm

from allennlp_elmo_plus.core.errors import InputError

# What a shell reports of a command that an interrupt from the keyboard ended.
INTERRUPTED = 130


@contextmanager
def failing_in_one_line(after_interrupt: str = "nothing was written") -> Iterator[None]:
    """
    Ends the process with status 1 and one line on stderr where its block raises what a user's input can cause, and with status
    130 and a line that ends in `after_interrupt` at an interrupt from the keyboard.
    """
    try:
        yield
    except KeyboardInterrupt:
        print(f"\ninterrupted: {after_interrupt}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except (InputError, ConfigurationError) as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or 'a file'}: {error.strerror or error}")


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
