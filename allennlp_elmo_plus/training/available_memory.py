"""How much more memory this process may take."""

from pathlib import Path
from typing import Optional

import torch

# What cgroups of the first kind say where there is no limit; a number, near the largest there is.
_NO_LIMIT = 1 << 60


def available_memory(device: torch.device, root: Path = Path("/")) -> Optional[int]:
    """Bytes that can still be had on `device`: of a GPU what is free there, this process's own reserve included; else the least of
    what Linux calls available and what the limits of this process's control groups leave, of both kinds. None where no one says.

    `root`: where /proc and /sys are.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    found = [_system_memory(root), *_left_by_control_groups(root)]
    return min((value for value in found if value is not None), default=None)


def _system_memory(root: Path) -> Optional[int]:
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _left_by_control_groups(root: Path) -> list[int]:
    left = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, limit, usage = root / "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            base, limit, usage = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        # A group's limit holds for all groups below; a container may see its own group as the root.
        group = base / path.lstrip("/")
        for directory in (group, *group.parents):
            most, used = _read(directory / limit).strip(), _read(directory / usage).strip()
            if most.isdigit() and used.isdigit() and int(most) < _NO_LIMIT:
                left.append(max(0, int(most) - int(used) + _file_cache(directory)))
            if directory == base:
                break
    return left


def _file_cache(directory: Path) -> int:
    """What a group holds of files, and would give up."""
    for line in _read(directory / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""
