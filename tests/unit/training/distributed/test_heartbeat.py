"""Processes end when one of them is lost. Here each process is a heartbeat in a thread, with a round every 10 ms."""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import torch.distributed as dist

from allennlp_elmo_plus.training.distributed.heartbeat import Heartbeat, log

INTERVAL, PATIENCE = 0.01, 1.0
# A test that passes never waits as long.
DEADLINE_SECONDS = 60


class Processes:
    """`count` heartbeats, each with its own connection, and the message of each that noticed a loss."""

    def __init__(self, count: int, timeout: float = PATIENCE, grace: float = 0.0) -> None:
        self.server = dist.TCPStore("127.0.0.1", 0, is_master=True, timeout=timedelta(seconds=10))
        self.losses: dict[int, str] = {}
        self.ended: list[int] = []
        self.grace = grace
        self.hearts = [
            Heartbeat(
                *(self.connection(), rank, count, INTERVAL, timeout, grace),
                on_loss=partial(self.losses.setdefault, rank),
                end=partial(self.ended.append, rank),
            )
            for rank in range(count)
        ]

    def connection(self) -> dist.TCPStore:
        return dist.TCPStore("127.0.0.1", self.server.port, is_master=False, timeout=timedelta(seconds=10))

    def start(self, *ranks: int) -> None:
        for rank in ranks:
            self.hearts[rank].start()

    def wait_for_losses(self, *ranks: int) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while set(self.losses) != set(ranks) or len(self.ended) < (len(ranks) if self.grace == 0 else 0):
            assert time.monotonic() < deadline, self.losses
            time.sleep(INTERVAL)


@pytest.fixture
def three() -> Iterator[Processes]:
    processes = Processes(3)
    yield processes
    for heart in processes.hearts:
        heart._stopped.set()
        for thread in heart._threads:
            thread.join()


def test_running_processes_that_stop_together_report_no_loss(three: Processes) -> None:
    three.start(0, 1, 2)
    time.sleep(2 * PATIENCE)
    for rank in (2, 1, 0):
        three.hearts[rank].stop()
    assert three.losses == {}


def test_a_process_that_never_starts_ends_all_others(three: Processes) -> None:
    three.start(0, 1)
    three.wait_for_losses(0, 1)
    assert three.losses == {rank: f"process {rank} ends: process 2 is not heard of any more" for rank in (0, 1)}


def test_a_process_whose_heartbeat_stops_ends_all_others(three: Processes) -> None:
    three.start(0, 1, 2)
    time.sleep(PATIENCE)
    three.hearts[1]._stopped.set()
    three.wait_for_losses(0, 2)
    assert "process 1 is not heard of" in three.losses[2]


@pytest.mark.parametrize("failing", [0, 2])
def test_an_error_of_one_process_is_the_message_of_all_others(three: Processes, failing: int) -> None:
    three.start(0, 1, 2)
    three.hearts[failing].fail("a process failed, ValueError: nan loss")
    others = {0, 1, 2} - {failing}
    three.wait_for_losses(*others)
    assert three.losses == {rank: f"process {rank} ends: a process failed, ValueError: nan loss" for rank in others}


def test_a_later_error_does_not_replace_the_first(three: Processes) -> None:
    first = "process 2 failed, ValueError: nan loss"
    assert three.hearts[2].fail(first) == first
    assert three.hearts[1].fail("process 1 failed, RuntimeError: connection closed by peer") == first
    assert three.losses == {1: "process 1 ends: process 2 failed, ValueError: nan loss"}


def test_a_lost_store_ends_the_other_processes(three: Processes) -> None:
    three.start(1, 2)
    time.sleep(PATIENCE)
    del three.server
    three.wait_for_losses(1, 2)
    assert "process 0 does not answer" in three.losses[1]


@pytest.mark.slow
def test_a_store_that_does_not_answer_ends_the_other_processes(
    three: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(three.hearts[1], "_failure", lambda: time.sleep(10 * PATIENCE))
    three.start(1)
    three.wait_for_losses(1)
    assert three.losses == {1: "process 1 ends: process 0 does not answer"}


@pytest.mark.slow
def test_a_process_that_was_stopped_for_a_while_reports_no_loss(
    three: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While process 0 sleeps, it misses many heartbeats of the others."""
    failure = three.hearts[0]._failure
    has_slept = threading.Event()

    def sleep_once() -> Any:
        if not has_slept.is_set():
            # A suspended process does not count its rounds without an answer either. Only this thread sets the counter back to 0.
            three.hearts[0]._rounds_without_answer = -(10**6)
            time.sleep(3 * PATIENCE)
            has_slept.set()
        return failure()

    monkeypatch.setattr(three.hearts[0], "_failure", sleep_once)
    three.start(0, 1, 2)
    time.sleep(5 * PATIENCE)
    assert has_slept.is_set() and three.losses == {}


def test_process_0_keeps_the_store_until_all_others_have_stopped() -> None:
    processes = Processes(2, timeout=DEADLINE_SECONDS)
    processes.start(0, 1)
    stopping = threading.Thread(target=processes.hearts[0].stop)
    stopping.start()
    stopping.join(20 * INTERVAL)
    assert stopping.is_alive()
    processes.hearts[1].stop()
    stopping.join(DEADLINE_SECONDS)
    assert not stopping.is_alive() and processes.losses == {}


def test_a_process_that_fails_within_the_grace_period_is_not_killed() -> None:
    processes = Processes(2, grace=DEADLINE_SECONDS)
    processes.start(0, 1)
    processes.hearts[0].fail("process 0 failed, ValueError: nan loss")
    processes.wait_for_losses(1)
    processes.hearts[1].fail("process 1 failed, RuntimeError: connection closed by peer")
    processes.hearts[1]._threads[0].join(DEADLINE_SECONDS)
    assert not processes.hearts[1]._threads[0].is_alive() and processes.ended == []


def test_log_prints_a_line_of_its_own_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    log("process 1 ends: process 0 does not answer")
    assert capsys.readouterr().err == "\nprocess 1 ends: process 0 does not answer\n"
