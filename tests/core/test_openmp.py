"""OpenMP's idle threads, which are counted in processes of their own: how long they spin is read when the library is loaded."""

import os
import subprocess
import sys

import pytest

from allennlp_elmo_plus.core.openmp import VARIABLES

CODE = """
import os, sys, threading, time, torch
from allennlp_elmo_plus.core import openmp
from allennlp_elmo_plus.core.side_by_side import side_by_side

torch.set_num_threads(3)
numbers = torch.arange(300_000.0)

def num_threads():
    numbers + 1
    return len(os.listdir("/proc/self/task"))

def num_threads_left(expected):
    # They have been told to end; the system counts them until they have.
    latest = time.monotonic() + float(sys.argv[1])
    while (found := len(os.listdir("/proc/self/task"))) > expected and time.monotonic() < latest:
        time.sleep(0.01)
    return found

before = num_threads()
openmp.end_idle_threads()
after = num_threads_left(before - 2)
assert torch.equal(numbers + numbers, 2 * numbers)
again = num_threads()
# A thread that has done its task could do another's.
together = threading.Barrier(3)

def num_threads_beside_two():
    together.wait()
    return num_threads_left(before)

inside = side_by_side([num_threads_beside_two] * 3, torch.device("cpu"))[0]
print(before, after, again, inside)
"""


def counts(seconds: str, **variables: str) -> list[int]:
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("this system does not tell a process's threads")
    environment = {name: value for name, value in os.environ.items() if name not in (*VARIABLES, "OMP_NUM_THREADS")}
    run = [sys.executable, "-c", CODE, seconds]
    done = subprocess.run(run, env={**environment, **variables}, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def test_idle_threads_end_and_come_again() -> None:
    before, after, again, inside = counts("30")
    assert after == before - 2
    assert again == before
    # Two tasks' threads in place of two idle ones.
    assert inside == before


@pytest.mark.parametrize("variable", VARIABLES)
def test_who_has_set_how_they_wait_has_decided(variable: str) -> None:
    before, after, again, inside = counts("0.5", **{variable: "100" if variable == "GOMP_SPINCOUNT" else "passive"})
    assert before == after == again == inside - 2
