"""OpenMP's idle threads, which are counted in processes of their own: how long they spin is read when the library is loaded."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from allennlp_elmo_plus import ElmoEmbedder
from allennlp_elmo_plus.kernels import openmp
from allennlp_elmo_plus.kernels.openmp import VARIABLES
from tests.helpers.saved_bilm import SENTENCES
from tests.helpers.small_encoders import options_of, random_encoder

MAPS = """\
7f301ba16000-7f301ba1e000 r-xp 00000000 fe:00 1835 /opt/My Name/.venv/torch/lib/libgomp.so.1
7f301ba1e000-7f301ba2e000 r--p 00008000 fe:00 1835 /opt/My Name/.venv/torch/lib/libgomp.so.1
7ffd4d1c5000-7ffd4d1c9000 rw-p 00000000 00:00 0    [stack]
"""

CODE = """
import os, sys, threading, time, torch
from allennlp_elmo_plus.kernels import openmp
from allennlp_elmo_plus.kernels.threads import run_in_threads

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
openmp.release_openmp_threads()
after = num_threads_left(before - 2)
assert torch.equal(numbers + numbers, 2 * numbers)
again = num_threads()
# A thread that has done its task could do another's.
together = threading.Barrier(3)

def num_threads_beside_two():
    together.wait()
    return num_threads_left(before)

inside = run_in_threads([num_threads_beside_two] * 3, torch.device("cpu"))[0]
print(before, after, again, inside)
"""


def counts(seconds: str, **variables: str) -> list[int]:
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("this system does not tell a process's threads")
    environment = {name: value for name, value in os.environ.items() if name not in (*VARIABLES, "OMP_NUM_THREADS")}
    run = [sys.executable, "-c", CODE, seconds]
    done = subprocess.run(run, env={**environment, **variables}, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


@pytest.mark.slow
def test_idle_threads_end_and_come_again() -> None:
    before, after, again, inside = counts("30")
    assert after == before - 2
    assert again == before
    # Two tasks' threads in place of two idle ones.
    assert inside == before


@pytest.mark.slow
@pytest.mark.parametrize("variable", VARIABLES)
def test_who_has_set_how_they_wait_has_decided(variable: str) -> None:
    before, after, again, inside = counts("0.5", **{variable: "100" if variable == "GOMP_SPINCOUNT" else "passive"})
    assert before == after == again == inside - 2


def in_a_forked_process(compute: Callable[[], bytes], seconds: float = 30.0) -> bytes:
    """What `compute` returns in a forked process; empty where the process has not returned it within `seconds`."""
    answer, to_answer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(to_answer, compute())
        os._exit(0)
    os.close(to_answer)
    ready = select.select([answer], [], [], seconds)[0]
    try:
        return os.read(answer, 1000) if ready else b""
    finally:
        os.close(answer)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.fixture
def three_threads() -> Iterator[torch.Tensor]:
    """Numbers large enough for a parallel operation, of which this thread has had one."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    numbers = torch.arange(300_000.0)
    numbers + 1
    yield numbers
    torch.set_num_threads(before)


@pytest.mark.parametrize("from_another_thread", [False, True])
def test_a_forked_process_computes_with_the_threads_of_its_parent(
    three_threads: torch.Tensor, from_another_thread: bool
) -> None:
    def compute() -> bytes:
        return b"%d %a" % (torch.get_num_threads(), torch.equal(three_threads + three_threads, 2 * three_threads))

    def fork() -> bytes:
        three_threads + 1
        return in_a_forked_process(compute)

    if from_another_thread:
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(fork).result()
    else:
        answer = fork()
    assert answer == b"3 True"
    assert torch.equal(three_threads + three_threads, 2 * three_threads)


def test_a_forked_process_embeds_as_its_parent_does(three_threads: torch.Tensor) -> None:
    embedder = ElmoEmbedder(random_encoder(options_of("usual")))
    expected = embedder.embed_batch(SENTENCES)
    three_threads + 1

    def compute() -> bytes:
        vectors = embedder.embed_batch(SENTENCES)
        return b"%a" % all(np.array_equal(ours, theirs) for ours, theirs in zip(vectors, expected, strict=True))

    assert in_a_forked_process(compute) == b"True"


def test_a_forked_process_has_one_thread_where_its_parent_could_not_end_its_own(
    three_threads: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openmp, "_pause", lambda: None)

    def compute() -> bytes:
        return b"%d %a" % (torch.get_num_threads(), torch.equal(three_threads + three_threads, 2 * three_threads))

    assert in_a_forked_process(compute) == b"1 True"
    assert torch.get_num_threads() == 3


def test_the_path_of_the_library_may_have_spaces() -> None:
    assert openmp._gnu_libraries(MAPS) == {"/opt/My Name/.venv/torch/lib/libgomp.so.1"}
