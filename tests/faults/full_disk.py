"""A run whose disk is full."""

import shutil

from tests.faults.runs import Run


def train_on_full_disk(run: Run, num_bytes: int) -> tuple[int, list[str]]:
    """
    Trains `run` on a disk of `num_bytes` bytes, then moves what is there to one that is large enough and goes on. Returns the first
    process's status and the checkpoints it left.
    """
    run.out.mkdir()
    kept = run.directory / "kept"
    status = run.finish(mounts=[{"path": str(run.out), "memory": f"size={max(1, num_bytes)}"}], keep=kept)
    checkpoints = sorted(path.name for path in kept.glob("model_state_*.th"))
    assert (status == 0) == (kept / "model.tar.gz").exists()
    shutil.rmtree(run.out)
    shutil.copytree(kept, run.out)
    # AllenNLP takes up no directory that it has not written its config to.
    has_config = (run.out / "config.json").exists()
    assert run.finish("--recover" if has_config else "--force") == 0, run.log.read_text()[-3000:]
    return status, checkpoints
