"""Freed memory stays with the process. Each case is a process of its own, since an allocator's settings cannot be taken back."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from allennlp_elmo_plus.training import malloc

CODE = """
import resource, sys
import torch
from allennlp_elmo_plus.training import malloc
malloc._strict_accounting = lambda: {strict}
is_set = malloc.keep_freed_memory()

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

page_faults()
huge = sum(int(line.split()[1]) for line in open("/proc/self/smaps") if line.startswith("AnonHugePages"))
print(is_set, page_faults(), huge)
"""


def run(strict: bool = False, **variables: str) -> tuple[bool, int, int]:
    """Return whether memory is kept, the page faults of ten tensors of 40 MB, and the kB of huge pages."""
    # Dask sets one of these variables for its workers.
    environment = {name: value for name, value in os.environ.items() if name not in malloc._VARIABLES}
    command = [sys.executable, "-c", CODE.format(strict=strict)]
    done = subprocess.run(command, env={**environment, **variables}, capture_output=True, text=True, check=True)
    is_set, faults, huge = done.stdout.split()
    return is_set == "True", int(faults), int(huge)


@pytest.fixture(autouse=True)
def needs_glibc() -> None:
    if "CS_GNU_LIBC_VERSION" not in os.confstr_names:
        pytest.skip("this system has another allocator than glibc's")


@pytest.mark.slow
def test_the_memory_of_one_tensor_serves_the_next() -> None:
    is_set, faults, _ = run()
    assert is_set and faults < 100


@pytest.mark.slow
@pytest.mark.parametrize("name, value", [("GLIBC_TUNABLES", "glibc.malloc.arena_max=1"), ("MALLOC_ARENA_MAX", "2")])
def test_the_settings_of_the_user_stay(name: str, value: str) -> None:
    is_set, faults, _ = run(**{name: value})
    assert not is_set and faults > 10_000


@pytest.mark.slow
def test_huge_pages_are_used_where_the_system_offers_them() -> None:
    offer = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not offer.exists() or "[never]" in offer.read_text():
        pytest.skip("this system offers no huge pages")
    assert run()[2] >= 30_000


@pytest.mark.slow
def test_no_addresses_are_reserved_where_addresses_count_as_memory() -> None:
    offer = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if offer.exists() and "[always]" in offer.read_text():
        pytest.skip("this system uses huge pages without being asked")
    is_set, _, huge = run(strict=True)
    assert is_set and huge == 0


def test_nothing_changes_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    class OtherLibrary:
        pass

    monkeypatch.setattr("ctypes.CDLL", lambda name: OtherLibrary())
    assert not malloc.keep_freed_memory()
