"""Reports of benchmarks, as a table for people and as JSON for programs."""

import dataclasses
import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from .rounds import spread

UNITS = {
    "seconds": "s per run, one number per round",
    "median_seconds": "s per run",
    "fastest": "s, the fastest run of all",
    "ratio_of_fastest": "fastest run, for the same work / that of the first line",
    "spread": "distance of the quartiles / median",
    "amount": "units of work per run",
    "rate": "units of work/s",
    "gflops": "10^9 floating-point operations/s",
    "share_of_limit": "1 is the limit itself",
    "share_of_limit_fastest": "the same, of fastest runs",
    "bytes": "bytes",
    "exchanged_bytes": "bytes that a process sends for the sums of a step, by part",
    "growth": "time / time of the size before",
    "growth_of_work": "work / work of the size before",
}


@dataclass
class Figures:
    """
    One line of a table.

    Attributes:
        seconds: Seconds per run, one number per round; empty if nothing was timed.
        fastest: Seconds of the fastest run.
        amount: Units of work in a run.
        ratio: See `Report.ratio_is`.
        peak_bytes: Peak memory.
        exchanged_bytes: Bytes sent between processes, by part.
        growth: The paired ratio to the line before.
        growth_of_work: The growth of the counted work.
    """

    contender: str
    seconds: list[float] = field(default_factory=list)
    fastest: Optional[float] = None
    amount: Optional[float] = None
    flops: Optional[float] = None
    ratio: Optional[float] = None
    ratio_of_fastest: Optional[float] = None
    share_of_limit: Optional[float] = None
    share_of_limit_fastest: Optional[float] = None
    peak_bytes: Optional[int] = None
    exchanged_bytes: Optional[dict[str, int]] = None
    growth: Optional[float] = None
    growth_of_work: Optional[float] = None
    remark: str = ""

    @property
    def median_seconds(self) -> Optional[float]:
        return statistics.median(self.seconds) if self.seconds else None

    @property
    def rate(self) -> Optional[float]:
        """Return the units of work per second."""
        return self.amount / self.median_seconds if self.amount and self.median_seconds else None

    @property
    def gflops(self) -> Optional[float]:
        return self.flops / self.median_seconds / 1e9 if self.flops and self.median_seconds else None

    def as_json(self) -> dict[str, Any]:
        fields = dataclasses.asdict(self)
        fields["bytes"] = fields.pop("peak_bytes")
        derived = {"median_seconds": self.median_seconds, "rate": self.rate, "gflops": self.gflops}
        return {**fields, **derived, "spread": spread(self.seconds) if self.seconds else None}


@dataclass
class Case:
    """A job of one size, with the figures of all contenders."""

    label: str
    figures: list[Figures]


@dataclass
class Report:
    """
    The results of one benchmark.

    Attributes:
        work_unit: The name of a unit of `Figures.amount`.
        ratio_is: The definition of the ratios.
    """

    name: str
    title: str
    cases: list[Case]
    work_unit: str = "token"
    ratio_is: str = "time for the same work / that of the first line, median over rounds"
    notes: list[str] = field(default_factory=list)

    def as_json(self, machine: dict[str, Any], quick: bool) -> dict[str, Any]:
        cases = [{"label": case.label, "contenders": [line.as_json() for line in case.figures]} for case in self.cases]
        return {
            "benchmark": self.name,
            "title": self.title,
            # With tiny sizes the figures mean nothing.
            "quick": quick,
            "machine": machine,
            "units": {**UNITS, "work": self.work_unit, "ratio": self.ratio_is},
            "cases": cases,
            "notes": self.notes,
        }

    def write_json(self, path: Path, machine: dict[str, Any], quick: bool) -> None:
        path.write_text(json.dumps(self.as_json(machine, quick), indent=1, allow_nan=False) + "\n", encoding="utf-8")

    def table(self) -> str:
        """Return the report as plain text, without empty columns."""
        lines = [_cells(figures, self.work_unit) for case in self.cases for figures in case.figures]
        columns = [name for name in (lines[0] if lines else {}) if any(line[name] for line in lines)]
        widths = {name: max(len(name), *(len(line[name]) for line in lines)) for name in columns}
        text = [f"== {self.name}: {self.title}"]
        if columns:
            text.append(_aligned({name: name for name in columns}, widths))
        remaining = iter(lines)
        for case in self.cases:
            text.append(f"-- {case.label}")
            text += [_aligned(next(remaining), widths) for _ in case.figures]
        if "ratio" in columns:
            text.append(f"ratio: {self.ratio_is}")
        return "\n".join(text + self.notes) + "\n"


def _cells(line: Figures, work_unit: str) -> dict[str, str]:
    growth = ""
    if line.growth is not None:
        growth = f"x{line.growth:.2f}"
        growth += "" if line.growth_of_work is None else f" (work x{line.growth_of_work:.2f})"
    return {
        "": line.contender,
        "median": "" if line.median_seconds is None else duration(line.median_seconds),
        "spread": f"{100 * spread(line.seconds):.0f}%" if len(line.seconds) > 1 else "",
        f"{work_unit}s/s": "" if line.rate is None else f"{line.rate:,.0f}",
        "ratio": "" if line.ratio is None else f"{line.ratio:.2f}",
        "GFLOP/s": "" if line.gflops is None else f"{line.gflops:,.1f}",
        "of limit": "" if line.share_of_limit is None else f"{100 * line.share_of_limit:.0f}%",
        "fastest": "" if line.fastest is None else duration(line.fastest),
        "ratio of it": "" if line.ratio_of_fastest is None else f"{line.ratio_of_fastest:.2f}",
        "its limit": "" if line.share_of_limit_fastest is None else f"{100 * line.share_of_limit_fastest:.0f}%",
        "memory": "" if line.peak_bytes is None else f"{line.peak_bytes / 2**20:,.1f} MiB",
        "exchanged": "" if line.exchanged_bytes is None else f"{sum(line.exchanged_bytes.values()) / 2**20:,.1f} MiB",
        "growth": growth,
        "remark": line.remark,
    }


def duration(seconds: float) -> str:
    return f"{seconds:,.2f} s" if seconds >= 1 else f"{1000 * seconds:,.2f} ms"


def _aligned(cells: dict[str, str], widths: dict[str, int]) -> str:
    words = [
        cells[name].ljust(width) if name in ("", "remark") else cells[name].rjust(width)
        for name, width in widths.items()
    ]
    return "   ".join(words).rstrip()
