"""
The first run on a machine with a GPU, from the repository's root:  python -m scripts.gpu PART [--output DIRECTORY]

PART is one of `prove`, `time` and `train`. Each takes less than ten minutes and needs PyTorch, Triton, h5py and NumPy, but no
AllenNLP. It prints a table, writes PART.json, and ends with status 1 if anything failed. `--device cpu --dry-run` runs small sizes
on any machine.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Optional

import torch

from . import prove, timing, training
from .report import Report
from .workload import Workload

PARTS: dict[str, dict[str, Callable[[Workload, Report], None]]] = {
    "prove": prove.SECTIONS,
    "time": timing.SECTIONS,
    "train": training.SECTIONS,
}


def main(arguments: Optional[list[str]] = None) -> int:
    """Run a part. Return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.gpu", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument(
        "--output", type=Path, default=Path("gpu-run"), help="directory of the JSON file, default gpu-run"
    )
    parser.add_argument("--device", default="cuda", help="default cuda")
    parser.add_argument("--dry-run", action="store_true", help="small sizes; the times mean nothing")
    parser.add_argument("--only", nargs="+", metavar="SECTION", help="run only these sections")
    parser.add_argument(
        "--text", type=Path, help="text for the perplexity, a sentence per line; default: a generated one"
    )
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("`--device` must be one that PyTorch can use, got cuda, which it cannot; `--device cpu --dry-run`")
    sections = PARTS[options.part]
    unknown = [name for name in options.only or () if name not in sections]
    if unknown:
        parser.error(f"`--only` must name sections of {options.part}, {', '.join(sections)}, got {', '.join(unknown)}")
    options.output.mkdir(parents=True, exist_ok=True)
    report = Report(options.output / f"{options.part}.json", options.part, device)
    with tempfile.TemporaryDirectory() as scratch:
        work = Workload(device, options.dry_run, Path(scratch), options.text)
        for name, section in sections.items():
            if options.only is None or name in options.only:
                report.run(name, partial(section, work, report))
    report.close()
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
