"""The memory that this process may still allocate."""

from pathlib import Path
from typing import Optional

import torch

# From here on a limit of cgroups v1 means no limit: they write a number near the largest one.
_NO_LIMIT = 1 << 60


def available_memory(device: torch.device, root: Path = Path("/")) -> Optional[int]:
    """Return the bytes that can still be allocated on `device`, or None where they are unknown.

    On a GPU this is its free memory, the unused reserve of this process included. Elsewhere it is the least of Linux's available
    memory and of what the control groups (v1 and v2) of this process leave below their limits. `root` holds /proc and /sys.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    bounds = _control_group_memory(root)
    system = _numbers(root / "proc/meminfo").get("MemAvailable:")
    if system is not None:
        bounds.append(system * 1024)
    return min(bounds, default=None)


def _control_group_memory(root: Path) -> list[int]:
    """Return the bytes that each control group with a limit leaves."""
    remaining = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, limit, usage = root / "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            base, limit, usage = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        # A group's limit holds for all groups below it. A container may see its own group as the root.
        group = base / path.lstrip("/")
        for directory in (group, *group.parents):
            allowed, used = _read(directory / limit).strip(), _read(directory / usage).strip()
            if allowed.isdigit() and used.isdigit() and int(allowed) < _NO_LIMIT:
                # The kernel frees cached files on demand. Version 1 counts those of the groups below only in the total.
                numbers = _numbers(directory / "memory.stat")
                file_cache = numbers.get("total_inactive_file", numbers.get("inactive_file", 0))
                remaining.append(max(0, int(allowed) - int(used) + file_cache))
            if directory == base:
                break
    return remaining


def _numbers(path: Path) -> dict[str, int]:
    """Return the number that follows the first word of each line of the file `path`, by this word."""
    lines = (line.split() for line in _read(path).splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""
