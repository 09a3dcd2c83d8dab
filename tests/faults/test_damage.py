"""Files that other hands delete, cut, fill up or lock."""

import os
import shutil
import signal

import pytest

from tests.faults.full_disk import train_on_full_disk
from tests.faults.runs import NUM_EPOCHS, Run, assert_same_run


def test_a_second_run_into_the_directory_is_refused(run: Run, whole: Run) -> None:
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
    assert_same_run(run, whole)


def test_a_run_whose_directory_was_taken_by_force_ends(run: Run, whole: Run) -> None:
    first = run.start()
    run.wait_for_batches(2)
    os.kill(first, signal.SIGSTOP)
    second = run.start("--force")
    run.wait_for_batches(4)
    os.kill(first, signal.SIGCONT)
    assert run.wait(first) == 1
    assert f"`{run.out}` was removed or replaced while a run was writing to it: the run ends" in run.log.read_text()
    assert run.wait(second) == 0
    assert_same_run(run, whole)


def test_the_encoded_text_may_be_deleted_while_it_is_trained_on(run: Run, whole: Run) -> None:
    process = run.start()
    run.wait_for_batches(1)
    shutil.rmtree(run.out / "encoded_text")
    assert run.wait(process) == 0
    assert_same_run(run, whole)


def test_an_encoded_text_that_is_cut_short_costs_what_a_kill_does(run: Run, whole: Run) -> None:
    process = run.start()
    run.wait_for_batches(1)
    for tokens in (run.out / "encoded_text").glob("*/tokens"):
        assert not tokens.stat().st_mode & 0o222
        tokens.chmod(0o644)
        os.truncate(tokens, 0)
    assert run.wait(process) == -signal.SIGBUS
    run.recover()
    assert_same_run(run, whole)


# In checkpoints beside what else there is: too small for the encoded text, for one checkpoint, for a second.
@pytest.mark.parametrize("num_checkpoints", [-0.9, 0.6, 1.6])
def test_a_full_disk_costs_nothing_that_was_saved(run: Run, whole: Run, num_checkpoints: float) -> None:
    checkpoint = sum(path.stat().st_size for path in whole.out.glob(f"*_state_e{NUM_EPOCHS}_b0.th"))
    rest = sum(path.stat().st_size for path in whole.out.rglob("*") if path.is_file() and path.suffix != ".th")
    status, checkpoints = train_on_full_disk(run, int(rest + num_checkpoints * checkpoint))
    assert status == 1 and "No space left on device" in run.log.read_text()
    assert bool(checkpoints) == (num_checkpoints > 1)
    assert_same_run(run, whole)


def test_a_disk_that_is_read_only_at_recovery_costs_nothing(run: Run, whole: Run) -> None:
    process = run.start()
    run.wait_for_batches(5)
    run.kill(process)
    before = {path.name: path.read_bytes() for path in run.out.glob("*.json")}
    # Read-only: what the disk of a failing machine becomes.
    assert run.finish("--recover", mounts=[{"path": str(run.out)}]) == 1
    assert "Read-only file system" in run.log.read_text()
    assert {path.name: path.read_bytes() for path in run.out.glob("*.json")} == before
    run.recover()
    assert_same_run(run, whole)


def test_a_full_shared_memory_file_system_is_not_needed(run: Run, whole: Run) -> None:
    assert run.finish(mounts=[{"path": "/dev/shm", "memory": "size=4k,nr_inodes=1"}]) == 0
    assert_same_run(run, whole)


def test_a_changed_config_is_refused_by_name(run: Run) -> None:
    process = run.start()
    run.wait_for_batches(5)
    run.kill(process)
    kept = (run.out / "config.json").read_text()
    assert run.finish("--recover", "-o", '{"trainer.optimizer.lr": 0.1, "model.dropout": 0.2}') == 1
    log = run.log.read_text()
    assert "Key 'trainer.optimizer.lr' found in training configuration but not in the serialization directory" in log
    assert "Value for 'model.dropout' in training configuration does not match" in log
    assert (run.out / "config.json").read_text() == kept
