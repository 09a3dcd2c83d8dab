"""A run that is killed several times."""

import random
import signal
import time

from tests.faults.runs import Run

# The share of the kills that come before the first batch: while the process reads text, counts words, builds or restores the model.
SHARE_BEFORE_TRAINING = 0.2
MAX_BATCHES_BETWEEN_KILLS = 8


def kill_at_random(run: Run, num_kills: int, seed: int, number: int = signal.SIGKILL) -> int:
    """
    Start `run` and send it the signal `number`, `num_kills` times at random moments, recovering it each time; then let it finish.

    Returns:
        The number of processes that a signal ended: the last signal may come after the end of the run.
    """
    rng = random.Random(seed)
    num_ended = 0
    for _ in range(num_kills):
        process = run.start(run.restart_flag())
        if rng.random() < SHARE_BEFORE_TRAINING:
            time.sleep(rng.uniform(0, 0.3))
        else:
            run.wait_for_batches(run.num_batches() + rng.randint(1, MAX_BATCHES_BETWEEN_KILLS))
            time.sleep(rng.uniform(0, 0.01))
        num_ended += run.kill(process, number) != 0
    run.recover()
    return num_ended
