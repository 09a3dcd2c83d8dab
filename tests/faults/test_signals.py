"""SIGINT and SIGTERM that other processes send to a run, at different moments."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.faults.runs import Run, assert_same_run, in_two_processes
from tests.helpers.runs.fork_server import TIMEOUT_SECONDS, ForkServer


# An epoch has 11 training batches, then 2 validation batches.
@pytest.mark.parametrize(
    "number, num_batches",
    [
        (signal.SIGINT, 7),
        pytest.param(signal.SIGTERM, 1, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 15, marks=pytest.mark.slow),
    ],
)
def test_after_a_signal_a_run_finishes_its_batch_saves_and_exits(
    run: Run, uninterrupted: Run, number: int, num_batches: int
) -> None:
    process = run.start()
    run.wait_for_batches(num_batches)
    assert run.kill(process, number) == 128 + number
    log = run.log.read_text()
    assert f"{signal.Signals(number).name}: a checkpoint is saved after the current batch, then the run ends" in log
    assert "Traceback" not in log
    ((epoch, batch),) = re.findall(r"`--recover` continues in epoch (\d+) after batch (\d+)", log)
    assert (run.out / f"model_state_e{int(epoch) - 1}_b{batch}.th").exists()
    assert not (run.out / "model.tar.gz").exists()
    num_before = run.num_batches()
    run.recover()
    assert_same_run(run, uninterrupted)
    # No batch was trained on twice; an interrupted validation starts again.
    assert run.num_batches() <= uninterrupted.num_batches() + 2 and num_before < uninterrupted.num_batches()


def test_a_signal_while_the_text_is_encoded_ends_the_run_and_leaves_no_unfinished_file(run: Run) -> None:
    text = run.directory / "train.txt"
    text.unlink()
    os.mkfifo(text)
    process = run.start()
    with text.open("wb", buffering=0) as pipe:
        pipe.write(b"the mill turns\n")
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not (written := [path for path in map(os.path.realpath, open_files(process)) if "bilm-corpus-" in path]):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert run.kill(process, signal.SIGTERM) not in (0, -signal.SIGTERM)
    assert not any(os.path.exists(os.path.dirname(path)) for path in written) and run.num_batches() == 0


def open_files(process: int) -> list[Path]:
    return list(Path(f"/proc/{process}/fd").iterdir())


def test_a_second_signal_ends_the_process_at_once(run: Run, uninterrupted: Run) -> None:
    process = run.start()
    run.wait_for_batches(2)
    # The process is stopped while both signals arrive, so that no batch ends between them.
    for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
        os.kill(process, number)
        time.sleep(0.05)
    assert run.wait(process) == -signal.SIGTERM
    run.recover()
    assert_same_run(run, uninterrupted)


@pytest.mark.slow
def test_a_signal_to_the_parent_or_to_all_processes_ends_a_distributed_training(
    server: ForkServer, tmp_path: Path
) -> None:
    uninterrupted, run = (in_two_processes(server, tmp_path / name) for name in ("uninterrupted", "run"))
    assert uninterrupted.finish() == 0, uninterrupted.log.read_text()[-3000:]

    # `kill` and containers signal only the parent, which waits for its processes. Terminals and schedulers signal all processes.
    for number, send in ((signal.SIGTERM, os.kill), (signal.SIGINT, os.killpg)):
        process = run.start(*(["--recover"] if run.num_batches() else []))
        run.wait_for_batches(run.num_batches() + 5)
        send(process, number)
        assert run.wait(process) == 128 + number, run.log.read_text()[-3000:]
        assert "Traceback" not in run.log.read_text()
    # No batch was trained on twice.
    num_before = run.num_batches()
    assert num_before < uninterrupted.num_batches()

    # A process that is killed ends the others too.
    process = run.start("--recover")
    run.wait_for_batches(num_before + 3)
    first, _ = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    os.kill(int(first), signal.SIGKILL)
    assert run.wait(process) == 1
    run.recover()
    assert_same_run(run, uninterrupted)
