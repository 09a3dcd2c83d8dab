"""SIGINT and SIGTERM, from outside and at every kind of moment."""

import os
import re
import signal
import time

import pytest

from tests.faults.runs import Run, assert_same_run


# An epoch has 11 batches, and 2 of held-out text after them.
@pytest.mark.parametrize("number, after", [(signal.SIGTERM, 1), (signal.SIGINT, 7), (signal.SIGTERM, 15)])
def test_a_signal_ends_the_batch_saves_and_exits(run: Run, whole: Run, number: int, after: int) -> None:
    process = run.start()
    run.wait_for_batches(after)
    assert run.kill(process, number) == 128 + number
    log = run.log.read_text()
    assert f"{signal.Signals(number).name}: a checkpoint is saved after the batch at hand, then the run ends" in log
    assert "Traceback" not in log
    (place,) = re.findall(r"`--recover` goes on in epoch (\d+) after batch (\d+)", log)
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
