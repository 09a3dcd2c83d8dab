"""The results of a run. Each result is printed and written to a JSON file at once, so that an interrupted run loses none."""

import json
import math
import platform
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch

# A part must end within ten minutes. No section starts later than this.
BUDGET_SECONDS = 540.0


class Report:
    """
    The lines of one part of the run.

    Args:
        path: The JSON file.

    Attributes:
        failures: The names of the lines beyond their limit, and of the sections that raised an error or did not start.
    """

    def __init__(self, path: Path, part: str, device: torch.device, budget_seconds: float = BUDGET_SECONDS) -> None:
        self._path = path
        self._part = part
        self._machine = describe_machine(device)
        self._start = time.monotonic()
        self._budget_seconds = budget_seconds
        self._section = ""
        self._lines: list[dict[str, Any]] = []
        self.failures: list[str] = []

    def seconds_left(self) -> float:
        """Return the number of seconds in which further sections may start."""
        return self._budget_seconds - (time.monotonic() - self._start)

    def run(self, name: str, section: Callable[[], None]) -> None:
        """Run `section`, whose lines belong to `name`. An error is printed and recorded; it ends only this section."""
        self._section = name
        if self.seconds_left() <= 0:
            self._fail({"name": "not started", "text": f"{self._budget_seconds:.0f} s have passed"})
            return
        try:
            section()
        except Exception:
            error = traceback.format_exc(limit=-6)
            self._fail({"name": "error", "text": error})

    def limited(self, name: str, value: float, limit: float) -> None:
        """Record `value`. It fails if it is above `limit` or NaN."""
        line = {"name": name, "value": value if math.isfinite(value) else str(value), "limit": limit}
        line["text"] = f"{value:.2e}, at most {limit:.0e}"
        if value <= limit:
            self._add({**line, "passed": True})
        else:
            self._fail(line)

    def required(self, name: str, holds: bool, text: str = "") -> None:
        """Record whether the fact `name` holds. It fails if it does not."""
        line = {"name": name, "text": " ".join([str(holds), *([text] if text else [])])}
        if holds:
            self._add({**line, "passed": True})
        else:
            self._fail(line)

    def measured(self, name: str, value: float, unit: str) -> None:
        """Record a measured value, which cannot fail."""
        self._add(
            {"name": name, "value": value, "unit": unit, "text": f"{value:{',.0f' if value >= 1000 else '.4g'}} {unit}"}
        )

    def noted(self, name: str, text: str) -> None:
        """Record a text."""
        self._add({"name": name, "text": text})

    def close(self) -> None:
        """Print a table of all lines, the number of seconds, and the failures."""
        width = max((len(f"{line['section']}: {line['name']}") for line in self._lines), default=0)
        print(f"\n{self._part} on {self._machine['device']}, PyTorch {self._machine['torch']}")
        for line in self._lines:
            mark = {True: "ok  ", False: "FAIL"}.get(line.get("passed"), "    ")
            last = line["text"].strip().splitlines()[-1] if line["text"].strip() else ""
            print(f"{mark} {line['section'] + ': ' + line['name']:{width}}  {last}")
        result = f"{len(self.failures)} failed: {', '.join(self.failures)}" if self.failures else "nothing failed"
        print(f"{time.monotonic() - self._start:.0f} s, {result}; figures in {self._path}", flush=True)
        self._write()

    def _fail(self, line: dict[str, Any]) -> None:
        self.failures.append(f"{self._section}: {line['name']}")
        self._add({**line, "passed": False})

    def _add(self, line: dict[str, Any]) -> None:
        self._lines.append({"section": self._section, **line})
        failed = "FAIL " if line.get("passed") is False else ""
        seconds = time.monotonic() - self._start
        print(f"[{seconds:4.0f} s] {failed}{self._section}: {line['name']}: {line['text']}", flush=True)
        self._write()

    def _write(self) -> None:
        content = {
            "part": self._part,
            "machine": self._machine,
            "seconds": time.monotonic() - self._start,
            "failures": self.failures,
            "lines": self._lines,
        }
        self._path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def describe_machine(device: torch.device) -> dict[str, Optional[str]]:
    """Return the names and versions of device and libraries."""
    name = platform.processor() or platform.machine()
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        capability = f"{properties.major}.{properties.minor}"
        name = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, compute capability {capability}"
    try:
        import triton  # type: ignore[import-not-found, import-untyped]

        triton_version = str(triton.__version__)
    except ImportError:
        triton_version = None
    return {
        "device": name,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": triton_version,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
