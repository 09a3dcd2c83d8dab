"""When one of several processes is killed, stops or fails, all others end and log the known cause."""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from allennlp_elmo_plus.training.distributed.heartbeat import Heartbeat, connect_to_store
from tests.helpers.runs.fork_server import ForkServer

# On a busy machine a process may be slow; the timeout is longer than that.
INTERVAL, PATIENCE = 0.25, 10.0
# A test that passes never waits as long.
DEADLINE_SECONDS = 60
NUM_PROCESSES, LOST = 3, 1


def work(rank: int, port: int, path: str, fails: bool) -> None:
    """Run all-reduces with the other processes without end. The errors go to the file `path`/`rank`."""
    directory = Path(path)
    sys.stderr = open(directory / str(rank), "w", buffering=1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=NUM_PROCESSES)
    store = connect_to_store()
    assert store is not None
    heart = Heartbeat(store, rank, NUM_PROCESSES, INTERVAL, PATIENCE, grace=4 * INTERVAL)
    heart.start()
    try:
        for step in range(10**9):
            dist.all_reduce(torch.ones(1))
            if step == 20:
                (directory / f"{rank}.trains").touch()
                if fails and rank == LOST:
                    raise ValueError("nan loss encountered")
    except Exception as error:
        heart.fail(f"process {rank} failed, {type(error).__name__}: {error}")
        raise


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "stopped", "failed"])
def test_all_other_processes_end(server: ForkServer, how: str, tmp_path: Path, free_port: int) -> None:
    processes = [server.call(work, rank, free_port, str(tmp_path), how == "failed") for rank in range(NUM_PROCESSES)]
    others = [process for rank, process in enumerate(processes) if rank != LOST]
    try:
        while len(list(tmp_path.glob("*.trains"))) < NUM_PROCESSES:
            time.sleep(0.02)
        if how == "killed":
            os.kill(processes[LOST], signal.SIGKILL)
        elif how == "stopped":
            os.kill(processes[LOST], signal.SIGSTOP)
        assert [server.wait(process, DEADLINE_SECONDS) for process in others] == [1, 1]
        logs = [(tmp_path / str(rank)).read_text() for rank in range(NUM_PROCESSES) if rank != LOST]
        if how == "stopped":
            # The connections of a stopped process stay open, so only the missing heartbeat shows the loss.
            assert all("process 1 is not heard of any more" in log for log in logs)
        if how == "failed":
            assert all("process 1 failed, ValueError: nan loss encountered" in log for log in logs)
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        server.wait(processes[LOST])
