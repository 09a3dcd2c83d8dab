"""A run whose disk fills up."""

import shutil

from tests.faults.runs import Run


def train_on_full_disk(run: Run, num_bytes: int) -> tuple[int, list[str]]:
    """
    Train `run` on a disk of `num_bytes` bytes, then move its files to a disk with free space and resume it to the end.

    Returns:
        The exit status on the small disk, and the names of the checkpoints there.
    """
    run.out.mkdir()
    copy = run.directory / "copy"
    status = run.finish(mounts=[{"path": str(run.out), "memory": f"size={max(1, num_bytes)}"}], copy_to=copy)
    checkpoints = sorted(path.name for path in copy.glob("model_state_*.th"))
    assert (status == 0) == (copy / "model.tar.gz").exists()
    shutil.rmtree(run.out)
    shutil.copytree(copy, run.out)
    assert run.finish(run.restart_flag()) == 0, run.log.read_text()[-3000:]
    return status, checkpoints
