"""Independent pieces of work at the same time."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from allennlp_elmo_plus.kernels.threads import balanced_groups, num_threads, run_in_threads, take_threads
from benchmarks.workloads.corpora import sample_corpus, training_batches
from benchmarks.workloads.model_sizes import tiny
from benchmarks.workloads.training_step import TrainingJob

CPU = torch.device("cpu")


@pytest.fixture
def two_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_tasks_run_at_once_with_a_share_of_the_threads(two_threads: None) -> None:
    both_run = threading.Barrier(2, timeout=30)

    def task() -> tuple[int, int]:
        both_run.wait()
        return threading.get_ident(), torch.get_num_threads()

    (first, first_share), (second, second_share) = run_in_threads([task, task], CPU)
    assert first == threading.get_ident() != second
    assert (first_share, second_share) == (1, 1)
    assert torch.get_num_threads() == 2


def test_with_one_thread_they_run_in_turn() -> None:
    assert torch.get_num_threads() == 1
    assert run_in_threads([threading.get_ident] * 2, CPU) == [threading.get_ident()] * 2


def test_gradient_mode_and_autocast_are_the_callers(two_threads: None) -> None:
    def modes() -> tuple[bool, bool, torch.dtype]:
        return torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    with torch.no_grad(), torch.autocast("cpu", torch.float16):
        assert run_in_threads([modes, modes], CPU) == [(False, True, torch.float16)] * 2
    assert [result[:2] for result in run_in_threads([modes, modes], CPU)] == [(True, False)] * 2


def test_tasks_may_change_tensors_of_inference_mode(two_threads: None) -> None:
    with torch.inference_mode():
        values = torch.zeros(2)
        run_in_threads([lambda: values[0].add_(1), lambda: values[1].add_(2)], CPU)
    assert values.tolist() == [1, 2]


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_is_the_callers_and_comes_when_all_have_ended(failing: int, two_threads: None) -> None:
    begun, ended = threading.Event(), []

    def task(index: int) -> None:
        if index == failing:
            assert begun.wait(30)
            raise ValueError(f"task {index}")
        begun.set()
        threading.Event().wait(0.1)
        ended.append(index)

    with pytest.raises(ValueError, match=f"^task {failing}$"):
        run_in_threads([lambda: task(0), lambda: task(1)], CPU)
    assert ended == [1 - failing]
    assert torch.get_num_threads() == 2


def test_a_caller_does_not_wait_for_the_tasks_of_another(two_threads: None) -> None:
    both_run, may_end = threading.Barrier(3, timeout=30), threading.Event()

    def blocked() -> int:
        both_run.wait()
        assert may_end.wait(30)
        return 0

    results: list[list[int]] = []

    def call(*tasks: Callable[[], int]) -> None:
        torch.set_num_threads(2)
        results.append(run_in_threads(tasks, CPU))

    # The only thread of the pool is taken by the first caller's second task.
    first = threading.Thread(target=call, args=(blocked, blocked))
    first.start()
    both_run.wait()
    second = threading.Thread(target=call, args=(lambda: 1, lambda: 2))
    second.start()
    second.join(5)
    ended_in_time = not second.is_alive()
    may_end.set()
    first.join()
    second.join()
    assert ended_in_time and results == [[1, 2], [0, 0]]


def test_a_forked_process_has_threads_of_its_own(two_threads: None) -> None:
    run_in_threads([int, int], CPU)
    child = os.fork()
    if child == 0:
        os._exit(0 if run_in_threads([lambda: 1, lambda: 2], CPU) == [1, 2] else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_taken_threads_are_those_of_tasks_and_not_of_pytorch(two_threads: None) -> None:
    take_threads()
    take_threads()
    assert (torch.get_num_threads(), num_threads()) == (1, 2)
    both_run = threading.Barrier(2, timeout=30)
    assert run_in_threads([both_run.wait] * 2, CPU) in ([0, 1], [1, 0])
    assert torch.get_num_threads() == 1
    torch.set_num_threads(3)
    assert num_threads() == 3


@pytest.mark.parametrize("number", [1, 4, 8])
def test_a_single_thread_and_many_threads_are_not_taken(number: int, two_threads: None) -> None:
    torch.set_num_threads(number)
    take_threads()
    assert torch.get_num_threads() == num_threads() == number


def test_groups_have_sums_that_differ_little() -> None:
    assert balanced_groups([1, 9, 5, 4], 2) == [[1, 0], [2, 3]]
    assert balanced_groups([3], 2) == [[0], []]
    assert balanced_groups([], 1) == [[]]


@pytest.mark.parametrize("number", [2, 3, 4, 8])
def test_a_training_step_has_the_same_result_with_any_number_of_threads(
    number: int, two_threads: None, tmp_path: Path
) -> None:
    """4 and more threads are not taken: each direction then has several of OpenMP's."""

    def step() -> list[torch.Tensor]:
        torch.manual_seed(0)
        job = TrainingJob(options, 200, batches)
        return [job.step(), *job.model.parameters()]

    options = tiny()
    batches = training_batches(sample_corpus(tmp_path, 2_000), 200, 4, options["n_negative_samples_batch"], 1)
    torch.set_num_threads(1)
    expected = step()
    torch.set_num_threads(number)
    take_threads()
    assert num_threads() == number
    for computed, tensor in zip(step(), expected, strict=True):
        torch.testing.assert_close(computed, tensor, rtol=1e-4, atol=1e-5)
