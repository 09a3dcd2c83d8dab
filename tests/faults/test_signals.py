"""SIGINT and SIGTERM, from outside and at every kind of moment."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.faults.runs import Run, assert_same_run, in_two_processes
from tests.helpers.fork_server import ForkServer


# An epoch has 11 batches, and 2 of held-out text after them.
@pytest.mark.parametrize("number, after", [(signal.SIGTERM, 1), (signal.SIGINT, 7), (signal.SIGTERM, 15)])
def test_a_signal_ends_the_batch_saves_and_exits(run: Run, whole: Run, number: int, after: int) -> None:
    process = run.start()
    run.wait_for_batches(after)
    assert run.kill(process, number) == 128 + number
    log = run.log.read_text()
    assert f"{signal.Signals(number).name}: a checkpoint is saved after the current batch, then the run ends" in log
    assert "Traceback" not in log
    (place,) = re.findall(r"`--recover` continues in epoch (\d+) after batch (\d+)", log)
    assert (run.out / "model_state_e{}_b{}.th".format(*place)).exists()
    assert not (run.out / "model.tar.gz").exists()
    done = run.num_batches()
    run.recover()
    assert_same_run(run, whole)
    # Nothing was trained on twice; a validation that was broken off is begun anew.
    assert run.num_batches() <= whole.num_batches() + 2 and done < whole.num_batches()


def test_a_second_signal_ends_the_process_at_once(run: Run, whole: Run) -> None:
    process = run.start()
    run.wait_for_batches(2)
    # Stopped while both arrive: no batch can end in between.
    for sent in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
        os.kill(process, sent)
        time.sleep(0.05)
    assert run.wait(process) == -signal.SIGTERM
    run.recover()
    assert_same_run(run, whole)


def test_a_distributed_training_is_ended_from_wherever_the_signal_comes(server: ForkServer, tmp_path: Path) -> None:
    whole, run = (in_two_processes(server, tmp_path / name) for name in ("whole", "run"))
    assert whole.finish() == 0, whole.log.read_text()[-3000:]

    # To the one that waits for the others, as `kill` and containers do; to all, as terminals and schedulers do.
    for number, send in ((signal.SIGTERM, os.kill), (signal.SIGINT, os.killpg)):
        process = run.start(*(["--recover"] if run.num_batches() else []))
        run.wait_for_batches(run.num_batches() + 5)
        send(process, number)
        assert run.wait(process) == 128 + number, run.log.read_text()[-3000:]
        assert "Traceback" not in run.log.read_text()
    # Nothing was done twice: each batch by two processes.
    assert run.num_batches() < whole.num_batches()
    done = run.num_batches()

    process = run.start("--recover")
    run.wait_for_batches(done + 3)
    first, _ = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    os.kill(int(first), signal.SIGKILL)
    assert run.wait(process) == 1
    run.recover()
    assert_same_run(run, whole)
