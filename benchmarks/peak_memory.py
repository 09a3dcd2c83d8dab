"""
Peak memory of a job: the most resident memory of a fresh child process that does nothing else, above what it held when the job
began, in bytes.

    python -m benchmarks.peak_memory MODULE:FUNCTION ARGUMENTS_AS_JSON

calls FUNCTION(meter, **arguments) and prints a line of JSON. Only a fresh process tells: memory that an earlier job gave back to
the allocator would be reused unseen.
"""

import ctypes
import gc
import importlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

_ROOT = Path(__file__).resolve().parents[1]
_STATUS = Path("/proc/self/status")
# Writing 5 here makes Linux forget the peak so far.
_FORGET_PEAK = Path("/proc/self/clear_refs")


class PeakMemory(NamedTuple):
    """bytes above the baseline; what the process held then, mostly imports; and what the job returned."""

    peak_bytes: int
    baseline_bytes: int
    result: Any


class Meter:
    """Resident memory of this process since the last `start`, which the constructor is too."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """
        From here on memory counts: called once imports, and whatever else is not the job's, are done. What these have freed goes
        back to the system first, or the job would use it again unseen.
        """
        gc.collect()
        _give_back_free_memory()
        try:
            _FORGET_PEAK.write_text("5")
        except OSError:
            # The peak then includes what came before `start`: too high at worst, never too low.
            pass
        self.baseline_bytes = _resident("VmRSS")

    def peak_bytes(self) -> int:
        """The most since `start`, above what was held then."""
        return max(0, _resident("VmHWM") - self.baseline_bytes)


def peak_of(target: str, num_threads: int, **arguments: Any) -> PeakMemory:
    """
    Calls `target`, "module:function", in a child process with `num_threads` threads. What the function returns must be JSON.

    Raises RuntimeError with the child's last words where it fails.
    """
    paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "OMP_NUM_THREADS": str(num_threads),
    }
    command = [sys.executable, "-m", "benchmarks.peak_memory", target, json.dumps(arguments)]
    child = subprocess.run(command, env=environment, capture_output=True, text=True)
    if child.returncode != 0:
        raise RuntimeError(f"{target} ended with status {child.returncode}: {child.stderr[-2000:]}")
    return PeakMemory(**json.loads(child.stdout.splitlines()[-1]))


def peak_in_this_process(target: str, **arguments: Any) -> PeakMemory:
    """The same without a child: at once, and wrong by what the allocator has in store. For seeing that a job runs."""
    module, function = target.split(":")
    job = getattr(importlib.import_module(module), function)
    meter = Meter()
    result = job(meter, **arguments)
    return PeakMemory(meter.peak_bytes(), meter.baseline_bytes, result)


def _give_back_free_memory() -> None:
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        # Not glibc
        pass


def _resident(field: str) -> int:
    """`field` of /proc/self/status in bytes. Where there is none, the peak stands for both."""
    try:
        for line in _STATUS.read_text("ascii").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _main(target: str, arguments: str) -> None:
    print(json.dumps(peak_in_this_process(target, **json.loads(arguments))._asdict()))


if __name__ == "__main__":
    # Under this name, so that jobs see the class they annotate with.
    importlib.import_module("benchmarks.peak_memory")._main(*sys.argv[1:])
