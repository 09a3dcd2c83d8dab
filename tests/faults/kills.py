"""A run that is ended again and again."""

import random
import signal
import time

from tests.faults.runs import Run

# Of the kills, how many come before the process has done a batch: while it reads, counts words, builds the model, restores.
SHARE_BEFORE_TRAINING = 0.2
MAX_BATCHES_BETWEEN_KILLS = 8


def kill_at_random(run: Run, num_kills: int, seed: int, number: int = signal.SIGKILL) -> int:
    """
    Starts `run` and sends it the signal `number` at `num_kills` moments that `seed` gives, recovering each time; then lets it
    finish. Returns how many signals hit: the last may come after the end.
    """
    rng = random.Random(seed)
    hit = 0
    for _ in range(num_kills):
        has_config = (run.out / "config.json").exists()
        # AllenNLP recovers from no directory that it has not written its config to; nothing has been done then.
        process = run.start(*(["--recover"] if has_config else ["--force"]))
        if rng.random() < SHARE_BEFORE_TRAINING:
            time.sleep(rng.uniform(0, 0.3))
        else:
            run.wait_for_batches(run.num_batches() + rng.randint(1, MAX_BATCHES_BETWEEN_KILLS))
            time.sleep(rng.uniform(0, 0.01))
        hit += run.kill(process, number) != 0
    run.recover()
    return hit
