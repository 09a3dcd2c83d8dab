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


@contextmanager
def error_in_one_line() -> Iterator[None]:
    """End the program with one line where an InputError is raised."""
    try:
        yield
    except InputError as error:
        sys.exit(f"error: {error}")


def elmo_plus(*arguments: Any) -> float:
    """Run `elmo-plus` with `arguments` and return the processor time that it took, in minutes, added over all cores.

    Processor time changes little with what else the machine does, unlike the time of a clock.

    Raises:
        subprocess.CalledProcessError: where the command fails.
    """
    before = _processor_minutes()
    command = [sys.executable, "-m", "allennlp_elmo_plus", *map(str, arguments)]
    with subprocess.Popen(command) as process:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            # Ctrl-C stops the command too, and a training saves a checkpoint before it ends.
            process.wait()
            raise
    if status:
        raise subprocess.CalledProcessError(status, command)
    return _processor_minutes() - before


def train(config: Path, directory: Path, overrides: Optional[dict[str, Any]] = None) -> float:
    """Train with `config` into `directory`, or continue an interrupted training there; return the processor time in minutes.

    A finished training is not repeated; its time is then read from the file `processor_minutes` in `directory`. The time of an interrupted
    training is kept in a file beside it, unless this program is killed.
    """
    finished, unfinished = directory / "processor_minutes", directory / "processor_minutes.unfinished"
    if not finished.exists():
        recover = ["--recover"] if (directory / "config.json").exists() else []
        before = _processor_minutes() - (float(unfinished.read_text("utf-8")) if unfinished.exists() else 0.0)
        try:
            elmo_plus("train", config, "-s", directory, *recover, "-o", json.dumps(overrides or {}))
        finally:
            # A training begins in an empty directory only.
            if (directory / "config.json").exists():
                unfinished.write_text(f"{_processor_minutes() - before}\n", encoding="utf-8")
        unfinished.rename(finished)
    return float(finished.read_text("utf-8"))


def _processor_minutes() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (usage.ru_utime + usage.ru_stime) / 60
