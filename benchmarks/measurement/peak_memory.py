"""
Peak memory of a job: the peak resident memory of a fresh child process, minus its memory when the job began, in bytes.

    python -m benchmarks.measurement.peak_memory MODULE:FUNCTION ARGUMENTS_AS_JSON

calls FUNCTION(meter, **arguments) and prints a line of JSON. The process must be fresh, because a job reuses memory that an earlier job
returned to the allocator, and that memory would not be counted.
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

_ROOT = Path(__file__).resolve().parents[2]
_STATUS = Path("/proc/self/status")
# Writing 5 to this file makes Linux reset the peak.
_RESET_PEAK = Path("/proc/self/clear_refs")


class PeakMemory(NamedTuple):
    """Peak bytes above the baseline, the baseline, which is mostly imports, and the result of the job."""

    peak_bytes: int
    baseline_bytes: int
    result: Any


class Meter:
    """Resident memory of this process since the last `start`; the constructor calls `start`."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """
        Count memory from now on; called after imports and other preparations.

        Free memory is returned to the system first, because the job would reuse it uncounted.
        """
        gc.collect()
        _return_free_memory()
        try:
            _RESET_PEAK.write_text("5")
        except OSError:
            # The peak then includes the time before `start`, so it may be too high, never too low.
            pass
        self.baseline_bytes = _resident("VmRSS")

    def peak_bytes(self) -> int:
        """Return the peak since `start` above the memory at `start`."""
        return max(0, _resident("VmHWM") - self.baseline_bytes)


def peak_of(target: str, num_threads: int, **arguments: Any) -> PeakMemory:
    """
    Return the peak memory of `target`, "module:function", in a child process with `num_threads` threads; it must return JSON.

    Raises:
        RuntimeError: The child failed. The message ends with the child's stderr.
    """
    paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "OMP_NUM_THREADS": str(num_threads),
    }
    command = [sys.executable, "-m", "benchmarks.measurement.peak_memory", target, json.dumps(arguments)]
    child = subprocess.run(command, env=environment, capture_output=True, text=True)
    if child.returncode != 0:
        raise RuntimeError(f"{target} ended with status {child.returncode}: {child.stderr[-2000:]}")
    return PeakMemory(**json.loads(child.stdout.splitlines()[-1]))


def peak_in_this_process(target: str, **arguments: Any) -> PeakMemory:
    """Return the peak memory of `target` in this process, without the memory that the allocator reuses; for quick runs."""
    module, function = target.split(":")
    job = getattr(importlib.import_module(module), function)
    meter = Meter()
    result = job(meter, **arguments)
    return PeakMemory(meter.peak_bytes(), meter.baseline_bytes, result)


def _return_free_memory() -> None:
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        # Not glibc
        pass


def _resident(field: str) -> int:
    """Return `field` of /proc/self/status in bytes, or the peak on systems without this file."""
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
    # Imported by name, so that jobs use the same class `Meter`.
    importlib.import_module("benchmarks.measurement.peak_memory")._main(*sys.argv[1:])
