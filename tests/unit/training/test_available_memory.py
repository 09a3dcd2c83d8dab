"""Available memory, read from files as Linux writes them: /proc/meminfo and the limits of control groups."""

from pathlib import Path

import pytest
import torch

from allennlp_elmo_plus.training.available_memory import available_memory

CPU = torch.device("cpu")


def write(root: Path, contents: dict[str, str]) -> Path:
    for name, content in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "ascii")
    return root


MEMINFO = {"proc/meminfo": "MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable:   2000 kB\n"}
GROUP = "sys/fs/cgroup/a/b"
V1 = "sys/fs/cgroup/memory/box"


@pytest.mark.parametrize(
    "contents, expected",
    [
        ({}, None),
        (MEMINFO, 2_048_000),
        ({**MEMINFO, "proc/self/cgroup": "0::/a/b\n", f"{GROUP}/memory.max": "max\n"}, 2_048_000),
        (
            {
                **MEMINFO,
                "proc/self/cgroup": "0::/a/b\n",
                f"{GROUP}/memory.max": "1000000\n",
                f"{GROUP}/memory.current": "400000\n",
                f"{GROUP}/memory.stat": "anon 1\ninactive_file 50000\n",
            },
            650_000,
        ),
        (
            # The parent group has less memory available.
            {
                **MEMINFO,
                "proc/self/cgroup": "0::/a/b\n",
                f"{GROUP}/memory.max": "1000000\n",
                f"{GROUP}/memory.current": "400000\n",
                "sys/fs/cgroup/a/memory.max": "900000\n",
                "sys/fs/cgroup/a/memory.current": "950000\n",
            },
            0,
        ),
        (
            # In a container, the process's own group is the root.
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": "1000\n",
                "sys/fs/cgroup/memory.current": "100\n",
            },
            900,
        ),
        (
            {
                **MEMINFO,
                "proc/self/cgroup": "5:cpu,memory:/box\n1:name=systemd:/box\n",
                f"{V1}/memory.limit_in_bytes": "500000\n",
                f"{V1}/memory.usage_in_bytes": "200000\n",
                f"{V1}/memory.stat": "inactive_file 3\ntotal_inactive_file 100\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "7\n",
            },
            300_100,
        ),
    ],
)
def test_available_memory_is_the_minimum_over_the_system_and_all_groups(contents, expected, tmp_path):
    assert available_memory(CPU, write(tmp_path, contents)) == expected


def test_this_machine_has_some_available_memory():
    num_bytes = available_memory(CPU)
    assert num_bytes is None or num_bytes > 1_000_000
