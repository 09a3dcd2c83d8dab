"""Run commands and measure the processor time that they take."""

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

from allennlp_elmo_plus.errors import InputError


def elmo_plus(*arguments: Any) -> float:
    """Run `elmo-plus` with `arguments` and return the processor time that it took, in minutes, added over all cores.

    Processor time changes little with what else the machine does, unlike the time of a clock.

    Raises:
        subprocess.CalledProcessError: where the command fails.
    """
    before = _processor_seconds()
    subprocess.run([sys.executable, "-m", "allennlp_elmo_plus", *map(str, arguments)], check=True)
    return (_processor_seconds() - before) / 60


def train(config: Path, directory: Path, overrides: Optional[dict[str, Any]] = None) -> float:
    """Train with `config` into `directory`, or continue an interrupted training there; return the processor time in minutes.

    A finished training is not repeated; its time is then read from the file `processor_minutes` in `directory`. An interrupted
    training counts only the time since its continuation.
    """
    finished = directory / "processor_minutes"
    if not finished.exists():
        recover = ["--recover"] if (directory / "config.json").exists() else []
        minutes = elmo_plus("train", config, "-s", directory, *recover, "-o", json.dumps(overrides or {}))
        finished.write_text(f"{minutes}\n", encoding="utf-8")
    return float(finished.read_text("utf-8"))


@contextmanager
def error_in_one_line() -> Iterator[None]:
    """End the program with one line where an InputError is raised."""
    try:
        yield
    except InputError as error:
        sys.exit(f"error: {error}")


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
