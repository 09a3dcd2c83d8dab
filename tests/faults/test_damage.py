"""Runs whose files are deleted, truncated or locked by others, and runs on full or read-only disks."""

import os
import shutil
import signal

import pytest

from tests.faults.full_disk import train_on_full_disk
from tests.faults.runs import NUM_EPOCHS, Run, assert_same_run


def test_a_second_run_into_the_directory_is_refused(run: Run, uninterrupted: Run) -> None:
    process = run.start()
    run.wait_for_batches(2)
    os.kill(process, signal.SIGSTOP)
    vocabulary = (run.out / "vocabulary" / "tokens.txt").stat().st_mtime_ns
    assert run.finish("--recover") == 1
    last_line = run.log.read_text().splitlines()[-1]
    assert f"`{run.out}` is in use by process {process} on " in last_line
    assert last_line.endswith(": two runs cannot write to one directory")
    assert (run.out / "vocabulary" / "tokens.txt").stat().st_mtime_ns == vocabulary
    os.kill(process, signal.SIGCONT)
    assert run.wait(process) == 0
    assert_same_run(run, uninterrupted)


def test_a_run_whose_directory_another_run_replaced_by_force_ends(run: Run, uninterrupted: Run) -> None:
    first = run.start()
    run.wait_for_batches(2)
    os.kill(first, signal.SIGSTOP)
    second = run.start("--force")
    run.wait_for_batches(4)
    os.kill(first, signal.SIGCONT)
    assert run.wait(first) == 1
    assert f"`{run.out}` was removed or replaced while a run was writing to it: the run ends" in run.log.read_text()
    assert run.wait(second) == 0
    assert_same_run(run, uninterrupted)


def test_a_run_continues_when_the_encoded_text_is_deleted(run: Run, uninterrupted: Run) -> None:
    process = run.start()
    run.wait_for_batches(1)
    shutil.rmtree(run.out / "encoded_text")
    assert run.wait(process) == 0
    assert_same_run(run, uninterrupted)


def test_a_truncated_encoded_text_kills_the_process_and_the_run_can_be_recovered(run: Run, uninterrupted: Run) -> None:
    process = run.start()
    run.wait_for_batches(1)
    for tokens in (run.out / "encoded_text").glob("*/tokens"):
        assert not tokens.stat().st_mode & 0o222
        tokens.chmod(0o644)
        os.truncate(tokens, 0)
    assert run.wait(process) == -signal.SIGBUS
    run.recover()
    assert_same_run(run, uninterrupted)


# The disk has space for all other files and this number of checkpoints: too small for the encoded text, for one checkpoint, for two.
@pytest.mark.parametrize(
    "num_checkpoints", [1.6, *(pytest.param(number, marks=pytest.mark.slow) for number in (-0.9, 0.6))]
)
def test_a_full_disk_loses_no_saved_file(run: Run, uninterrupted: Run, num_checkpoints: float) -> None:
    checkpoint = sum(path.stat().st_size for path in uninterrupted.out.glob(f"*_state_e{NUM_EPOCHS}_b0.th"))
    others = (path for path in uninterrupted.out.rglob("*") if path.is_file() and path.suffix != ".th")
    num_bytes = sum(path.stat().st_size for path in others) + num_checkpoints * checkpoint
    status, checkpoints = train_on_full_disk(run, int(num_bytes))
    assert status == 1 and "No space left on device" in run.log.read_text()
    assert bool(checkpoints) == (num_checkpoints > 1)
    assert_same_run(run, uninterrupted)


def test_a_disk_that_is_read_only_at_recovery_loses_no_file(run: Run, uninterrupted: Run) -> None:
    process = run.start()
    run.wait_for_batches(5)
    run.kill(process)
    before = {path.name: path.read_bytes() for path in run.out.glob("*.json")}
    # Linux remounts a failing disk read-only.
    assert run.finish("--recover", mounts=[{"path": str(run.out)}]) == 1
    assert "Read-only file system" in run.log.read_text()
    assert {path.name: path.read_bytes() for path in run.out.glob("*.json")} == before
    run.recover()
    assert_same_run(run, uninterrupted)


@pytest.mark.slow
def test_a_run_needs_no_shared_memory_file_system(run: Run, uninterrupted: Run) -> None:
    assert run.finish(mounts=[{"path": "/dev/shm", "memory": "size=4k,nr_inodes=1"}]) == 0
    assert_same_run(run, uninterrupted)


def test_a_changed_config_is_refused_by_name(run: Run) -> None:
    process = run.start()
    run.wait_for_batches(5)
    run.kill(process)
    config = (run.out / "config.json").read_text()
    assert run.finish("--recover", "-o", '{"trainer.optimizer.lr": 0.1, "model.dropout": 0.2}') == 1
    log = run.log.read_text()
    assert "Key 'trainer.optimizer.lr' found in training configuration but not in the serialization directory" in log
    assert "Value for 'model.dropout' in training configuration does not match" in log
    assert (run.out / "config.json").read_text() == config
