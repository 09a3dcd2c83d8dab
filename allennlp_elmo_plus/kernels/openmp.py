"""OpenMP's threads between two parallel operations. GNU's library, which comes with PyTorch on Linux, has them spin for milliseconds,
on cores that other threads want. How long, it reads from the environment, before Python code could have set it.
"""

import ctypes
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Optional

import torch

# Whoever sets one of these has decided.
VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")

_SOFT = 1  # of `omp_pause_resource_t`: what is given back comes again with the next parallel operation


def release_openmp_threads() -> None:
    """Ends those of this thread's parallel operations, where they are GNU's and none of `VARIABLES` is set."""
    if not any(name in os.environ for name in VARIABLES):
        _end_threads()


def _end_threads() -> None:
    pause = _pause()
    if pause is not None:
        pause(_SOFT)


def _use_one_thread_unless_ended() -> None:
    if _pause() is None:
        torch.set_num_threads(1)


# A forked process has none of its parent's threads, but the copy of GNU's library in it expects them: its first parallel operation
# would wait for them for ever, in plain PyTorch too. Where no threads exist at the time of the fork, the library starts new ones in
# both processes. Where they cannot be ended, a process with one thread has no parallel operation.
os.register_at_fork(before=_end_threads, after_in_child=_use_one_thread_unless_ended)


@cache
def _pause() -> Optional[Callable[[int], Any]]:
    try:
        mapped = {
            line.split()[-1] for line in Path("/proc/self/maps").read_text("utf-8").splitlines() if "libgomp" in line
        }
        # Other packages may have brought one of their own.
        (library,) = {path for path in mapped if path.startswith(str(Path(torch.__file__).parent))} or mapped
        return ctypes.CDLL(library).omp_pause_resource_all  # type: ignore[no-any-return]
    except (OSError, ValueError, AttributeError):
        return None
