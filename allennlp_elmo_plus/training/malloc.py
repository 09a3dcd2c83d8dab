"""glibc's memory allocator. By default it returns large tensors to the system when they are freed, in small pages.

A training step frees and allocates the same tensors again. Each page that the system hands out anew costs a page fault, several
thousand per step; in virtual machines they take longer than the arithmetic.
"""

import ctypes
import os
from pathlib import Path

# Parameters of mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_TOP_PAD_BYTES = 64 << 20
_MADV_HUGEPAGE = 14
_HUGE_PAGE = 2 << 20
# The part of the machine's memory whose addresses the heap gets, to ask for huge pages in advance.
_RESERVED_PART = 0.5
# The user's own settings of the allocator.
_VARIABLES = ("GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "LD_PRELOAD")


def keep_freed_memory() -> bool:
    """Return whether this process now keeps the memory that it frees, in huge pages where the system has them.

    The memory of all threads comes from one heap, which only grows. Nothing changes without glibc, or where the user has set one of
    the allocator's environment variables.
    """
    try:
        libc = ctypes.CDLL(None)
        mallopt, has_glibc = libc.mallopt, hasattr(libc, "gnu_get_libc_version")
    except (OSError, TypeError, AttributeError):
        return False
    if not has_glibc or any(name in os.environ for name in _VARIABLES):
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, _TOP_PAD_BYTES), (_ARENA_MAX, 1))
    if not all([mallopt(parameter, value) for parameter, value in settings]):
        return False
    _use_huge_pages(libc)
    return True


def _use_huge_pages(libc: ctypes.CDLL) -> None:
    """Extend the heap's addresses, and ask for huge pages there; no memory is taken until it is written to."""
    if _strict_accounting():
        return
    libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    size = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * _RESERVED_PART)
    address = libc.malloc(size)
    if address:
        first = -(-address // _HUGE_PAGE) * _HUGE_PAGE
        libc.madvise(first, (address + size - first) // _HUGE_PAGE * _HUGE_PAGE, _MADV_HUGEPAGE)
        libc.free(address)


def _strict_accounting() -> bool:
    # Then addresses count as memory.
    try:
        return Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2"
    except OSError:
        return True
