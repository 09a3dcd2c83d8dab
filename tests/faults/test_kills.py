"""SIGKILL at random moments; `make soak` has the long form."""

import pytest

from tests.faults.kills import kill_at_random
from tests.faults.recorder import read_losses
from tests.faults.runs import Run, assert_same_run

NUM_KILLS = 5


@pytest.mark.slow
def test_a_run_that_is_killed_several_times_has_the_losses_and_weights_of_an_uninterrupted_run(
    run: Run, uninterrupted: Run
) -> None:
    assert kill_at_random(run, NUM_KILLS, seed=1) >= NUM_KILLS - 1
    assert_same_run(run, uninterrupted)
    assert len(read_losses(run.out)) > len(read_losses(uninterrupted.out))
