"""The threads of OpenMP between two parallel operations.

In GNU's OpenMP, which comes with PyTorch on Linux, a thread without work spins for milliseconds, on a core that other threads need.
The library reads the time of spinning from the environment when it is loaded, before Python code can set it.
"""

import ctypes
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Optional

import torch

# Where the user has set one of these variables, the threads stay as they are.
VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")

_SOFT = 1  # `omp_pause_soft`: the next parallel operation starts the threads again


def release_openmp_threads() -> None:
    """End the threads of GNU's OpenMP, unless one of `VARIABLES` is set."""
    if not any(name in os.environ for name in VARIABLES):
        _end_threads()


def _end_threads() -> None:
    pause = _pause()
    if pause is not None:
        pause(_SOFT)


def _use_one_thread_unless_ended() -> None:
    if _pause() is None:
        torch.set_num_threads(1)


# A forked process has none of its parent's threads, but its copy of GNU's library expects them: the first parallel operation would
# wait for them forever, in plain PyTorch too. Where no threads exist at the fork, the library starts new ones in both processes. Where
# the threads cannot be ended, the forked process computes with one thread.
os.register_at_fork(before=_end_threads, after_in_child=_use_one_thread_unless_ended)


@cache
def _pause() -> Optional[Callable[[int], Any]]:
    try:
        mapped = _gnu_libraries(Path("/proc/self/maps").read_text("utf-8"))
        # Other packages may bring a second copy of the library.
        (library,) = {path for path in mapped if path.startswith(str(Path(torch.__file__).parent))} or mapped
        return ctypes.CDLL(library).omp_pause_resource_all  # type: ignore[no-any-return]
    except (OSError, ValueError, AttributeError):
        return None


def _gnu_libraries(maps: str) -> set[str]:
    """Return the paths of GNU's OpenMP library in `maps`, which has five other fields before the path of a file."""
    return {line.split(maxsplit=5)[-1] for line in maps.splitlines() if "libgomp" in line}
