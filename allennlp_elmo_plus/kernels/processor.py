"""The instruction sets that compiled kernels may use, and the number of cores."""

import ctypes
import os
import sys
from functools import cache

# Linux lends a process the registers of AMX when it asks for them: `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)` on x86-64.
_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18


def num_usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def instruction_sets() -> frozenset[str]:
    """Return the instruction sets of the processor that numba compiles for, by LLVM's names; none without numba.

    Asks the operating system for AMX, once for a process. Where that is refused, AMX is not among them.
    """
    try:
        from numba.core.registry import cpu_target
    except ImportError:
        return frozenset()
    features = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    names = {feature[1:] for feature in features if feature.startswith("+")}
    if "amx-tile" in names and not (sys.platform == "linux" and _request_tiles()):
        names -= {name for name in names if name.startswith("amx")}
    return frozenset(names)


def _request_tiles() -> bool:
    return ctypes.CDLL(None).syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA) == 0
