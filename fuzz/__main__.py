"""Run the fuzz targets sequentially; see README.md."""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from fuzz.parsers import PARSERS

_MEMORY_MB = 2048
_MAX_SECONDS = 20


def main() -> None:
    parser = argparse.ArgumentParser("python -m fuzz", description="Feed damaged files to the parsers of this package.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"default: all of {', '.join(PARSERS)}")
    parser.add_argument("--seconds", type=int, default=600, help="for each target (default: 600)")
    parser.add_argument("--output", type=Path, default=Path("fuzz_out"), help="for logs and inputs that failed")
    args = parser.parse_args()
    for name in args.targets:
        if name not in PARSERS:
            parser.error(f"TARGET must be one of {', '.join(PARSERS)}, got {name}")
    args.output.mkdir(parents=True, exist_ok=True)
    failed = [name for name in args.targets or PARSERS if not run(name, args.seconds, args.output)]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; the inputs are in {args.output}")


def run(name: str, seconds: int, output: Path) -> bool:
    """Feed inputs to the target `name` for `seconds`, and print their number. Return whether all of them passed."""
    with tempfile.TemporaryDirectory(prefix="bilm-fuzz-") as directory:
        corpus = Path(directory) / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(PARSERS[name].seeds(Path(directory))):
            (corpus / f"seed{number}").write_bytes(seed)
        log = output / f"{name}.log"
        with open(log, "w") as file:
            result = subprocess.run(
                [
                    *(sys.executable, "-m", "fuzz.target", name, directory, str(corpus)),
                    *(f"-max_total_time={seconds}", f"-timeout={_MAX_SECONDS}", f"-rss_limit_mb={_MEMORY_MB}"),
                    *("-print_final_stats=1", "-max_len=100000", f"-artifact_prefix={output}/{name}-"),
                ],
                stdout=file,
                stderr=file,
            )
    counts = re.findall(r"stat::number_of_executed_units: +(\d+)", log.read_text(errors="replace"))
    outcome = "all read or refused in one line" if result.returncode == 0 else f"FAILED, see {log}"
    print(f"{name}: {int(counts[-1]) if counts else 0:,} inputs, {outcome}", flush=True)
    return result.returncode == 0


if __name__ == "__main__":
    main()
